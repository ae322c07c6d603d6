"""The doctor's advice: from findings to warnings, each with the way out; and how ports in use are counted."""

import re
from errno import EBUSY, EINVAL, ENOSYS, EPERM
from typing import Any

import pytest

from anyport._doctor import features
from anyport._doctor.advice import advice, is_broken
from anyport._doctor.features import Feature, hand_overs
from anyport._doctor.findings import Findings, Ports, Seen, System, Use, use
from anyport._ledger.health import UNUSABLE, USABLE, Health
from anyport._supervise import enter

NAMES = (
    "find", "hold tcp", "hold udp", "reuseport", "ipv6", "sock_diag", "bound-only", "processes", "pidfd_getfd",
    "seccomp", "supervised",
)  # fmt: skip
SYSTEM = System("6.18.0", "x86_64", "3.11.7", "1.0", "alice", 1000, 1024, 4096)
PORTS = Ports(32768, 60999, "", 1024, 19960, 0, 2)
IDLE = Use("tcp", 0, {}, {}, 0, 0, 0)
LEDGER = Health("/dev/shm/anyport-1000/ledger-1-1", USABLE, 0, ())


def findings(*failed: Feature, **changed: Any) -> Findings:
    """A system on which all is well, but for these."""
    by_name = {name: Feature(name, works=True) for name in NAMES} | {each.name: each for each in failed}
    found = Findings(SYSTEM, by_name, hand_overs(by_name), PORTS, [IDLE], "", LEDGER)
    return found._replace(**changed)


def failed(name: str, why: str = "it is so", errno: int = 0, hint: str = "") -> Feature:
    return Feature(name, works=False, why=why, errno=errno, hint=hint)


def test_where_all_is_well_nothing_is_said() -> None:
    """Not a line."""
    assert advice(findings()) == []
    assert findings().hand_overs == ["supervised", "shared", "inherited", "released"]


@pytest.mark.parametrize("name", ["ipv6", "processes", "reuseport"])
def test_a_mere_fact_is_no_warning(name: str) -> None:
    """No IPv6; what other users do can't be seen."""
    assert advice(findings(failed(name))) == []


PIDFD = (failed("pidfd_getfd", "refused", EPERM), failed("supervised", "refused", EPERM))
CASES: dict[str, tuple[Findings, str, str]] = {
    "no quiet range": (
        findings(ports=PORTS._replace(low=1024, high=65535, quiet=0)),
        "the ephemeral range 1024-65535 leaves no ports of 10000-29999",
        "`sysctl -w net.ipv4.ip_local_port_range='32768 60999'`",
    ),
    "little quiet range": (
        findings(ports=PORTS._replace(low=10500, high=60999, quiet=489)),
        "the ephemeral range 10500-60999 leaves 489 ports of 10000-29999",
        "`sysctl -w net.ipv4.ip_local_port_range='32768 60999'`",
    ),
    "all of it reserved": (
        findings(ports=PORTS._replace(reserved="10000-29999", quiet=0)),
        "net.ipv4.ip_local_reserved_ports leaves no ports",
        "`sysctl -w net.ipv4.ip_local_reserved_ports=",
    ),
    "TIME_WAIT": (
        findings(uses=[Use("tcp", 23000, {"TIME_WAIT": 22000, "LISTEN": 9}, {"node": 1000}, 0, 22000, 0)]),
        "23000 of 28232 ephemeral TCP ports are in use, 22000 of them TIME_WAIT, 1000 by node",
        "`sysctl -w net.ipv4.tcp_tw_reuse=1`",
    ),
    "most of it reserved": (
        findings(
            ports=PORTS._replace(low=30000, high=65535, reserved="30000-65000"),
            uses=[Use("tcp", 535, {"ESTABLISHED": 535}, {"node": 535}, 0, 0, 0)],
        ),
        "535 of 535 ephemeral TCP ports are in use",
        "reserve fewer: `sysctl -w net.ipv4.ip_local_reserved_ports=",
    ),
    "all of the ephemeral range reserved": (
        findings(ports=PORTS._replace(reserved="8080,32768-61000")),
        "net.ipv4.ip_local_reserved_ports leaves no ports of the ephemeral range 32768-60999, so outgoing connections",
        "reserve fewer: `sysctl -w net.ipv4.ip_local_reserved_ports=",
    ),
    "a program": (
        findings(uses=[Use("udp", 28232, {"BOUND": 28232}, {"dnsmasq": 28000}, 232, 0, 0)]),
        "28232 of 28232 ephemeral UDP ports are in use, 28232 of them BOUND, 28000 by dnsmasq",
        "`sysctl -w net.ipv4.ip_local_port_range='30000 65535'` makes the range wider",
    ),
    "a program, and the range is wide": (
        findings(
            ports=PORTS._replace(low=30000, high=65535),
            uses=[Use("tcp", 35000, {"ESTABLISHED": 35000}, {"node": 35000}, 0, 0, 0)],
        ),
        "35000 of 35536 ephemeral TCP ports are in use",
        "end node, or have it use its connections again",
    ),
    "autobind": (
        findings(ports=PORTS._replace(autobind_reuse=1)),
        "net.ipv4.ip_autobind_reuse is 1",
        "`sysctl -w net.ipv4.ip_autobind_reuse=0`",
    ),
    "few descriptors": (findings(system=SYSTEM._replace(descriptors=255)), "255 descriptors", "`ulimit -n 1024`"),
    "few, and a low limit": (
        findings(system=SYSTEM._replace(descriptors=100, descriptors_at_most=500)), "100", "`ulimit -n 500`",
    ),
    "few, and no more to be had": (
        findings(system=SYSTEM._replace(descriptors=100, descriptors_at_most=100)), "100", "the hard limit is 100",
    ),
    "few, and no limit": (
        findings(system=SYSTEM._replace(descriptors=100, descriptors_at_most=-1)), "100", "`ulimit -n 1024`",
    ),
    "no netlink": (
        findings(failed("sock_diag", "refused (errno 1)"), failed("bound-only", "refused (errno 1)")),
        "the kernel's socket table can't be asked (netlink, sock_diag): refused (errno 1)",
        "a systemd unit names that in `RestrictAddressFamilies=` too",
    ),
    "before 6.8": (findings(failed("bound-only", "it is not shown")), "it is not shown", "Linux 6.8 or newer"),
    "docker": (findings(*PIDFD), "can't supervise programs: refused", "docker run --cap-add SYS_PTRACE"),
    "no seccomp": (
        findings(failed("supervised", "refused", EPERM)), "can't supervise", "docker run --security-opt seccomp=",
    ),
    "yama": (
        findings(failed("supervised", "it may not be traced", EPERM, features.LET_TRACE)),
        "it may not be traced",
        "`sysctl -w kernel.yama.ptrace_scope=1`",
    ),
    "nested": (findings(failed("supervised", "it is under another", EBUSY)), "it is under another", "the outermost"),
    "old": (findings(failed("supervised", "too old", EINVAL)), "too old", "Linux 5.9 or newer"),
    "older": (findings(failed("supervised", "too old", ENOSYS)), "too old", "Linux 5.9 or newer"),
    "strange": (findings(failed("supervised")), "it is so", "process_vm_readv"),
    "holds": (findings(failed("hold udp", "gets past")), "a UDP port can't be held and handed over", "gVisor"),
    "ledger": (
        findings(ledger=LEDGER._replace(state=UNUSABLE, remarks=(("no place", "name one"),))),
        "no place; until then each process knows only the ports that it gave out itself",
        "name one",
    ),
    "another place": (findings(ledger=LEDGER._replace(remarks=(("taken", "rm it"),))), "taken", "rm it"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_one_warning_for_each_thing_with_the_way_out(case: str) -> None:
    """One line each, and none beside it."""
    found, text, hint = CASES[case]
    ((said, way_out),) = advice(found)
    assert text in said
    assert hint in way_out
    assert "\n" not in said + way_out
    assert not is_broken(found)


@pytest.mark.parametrize(("scope", "hint"), [(1, ""), (2, features.LET_TRACE)])
def test_yama_has_a_way_out_of_its_own(scope: int, hint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its setting and the errno that it gives, whatever the words for it are."""
    monkeypatch.setattr(enter, "_ptrace_scope", lambda: scope)
    refused = enter.SupervisionRefused("pidfd_getfd", EPERM)
    assert features._failed("supervised", refused).hint == hint


def test_without_a_port_that_is_all_there_is_to_say() -> None:
    """What was not tried for that is no second cause."""
    untried = [Feature(name, works=None, why="not tried") for name in ("hold tcp", "sock_diag", "supervised")]
    found = findings(failed("find", "no unused port", 98, "`ss -s` shows them"), *untried)
    assert is_broken(found)
    assert advice(found) == [("no port can be found: no unused port", "`ss -s` shows them")]
    assert found.hand_overs == []


def test_almost_in_use_is_not_in_use() -> None:
    """80 % of the range, not less."""
    size = PORTS.size
    assert not advice(findings(uses=[IDLE._replace(ports=size * 4 // 5)]))
    assert advice(findings(uses=[IDLE._replace(ports=size * 4 // 5 + 1)]))


def test_the_settings_in_hints_are_written_as_sysctl_takes_them() -> None:
    """A value with a space is quoted."""
    for found, _, _ in CASES.values():
        for command in re.findall("`(sysctl .*?)`", advice(found)[0][1]):
            assert re.fullmatch(r"sysctl -w [a-z0-9_.]+=('\d+ \d+'|[\d,-]+)", command)


def seen(port: int, state: str, *names: str, left: bool = False, protocol: str = "tcp") -> Seen:
    return Seen(protocol, port, state, frozenset(names), left)


def test_a_program_without_a_name_is_one_too() -> None:
    """It ended while it was looked at, or calls itself so."""
    assert use("tcp", PORTS, [seen(40000, "LISTEN", "")])[3:] == ({"?": 1}, 0, 0, 0)


def test_ports_are_counted_once_in_each_group() -> None:
    """A server's connections have its port; what is outside the range, or another protocol's, does not count."""
    found = use(
        "tcp",
        PORTS,
        [
            seen(8080, "LISTEN", "nginx"), seen(40000, "LISTEN", "nginx"), seen(40000, "ESTABLISHED", "nginx"),
            seen(40000, "ESTABLISHED", "nginx", "worker"), seen(40002, "ESTABLISHED", "curl"),
            seen(40004, "TIME_WAIT", left=True), seen(40006, "BOUND"), seen(61000, "LISTEN", "late"),
            seen(40008, "BOUND", "curl", protocol="udp"),
        ],
    )  # fmt: skip
    assert found.ports == 4
    assert found.states == {"ESTABLISHED": 2, "BOUND": 1, "LISTEN": 1, "TIME_WAIT": 1}
    assert found.programs == {"curl": 1, "nginx": 1, "worker": 1}
    assert (found.left_over, found.unseen, found.other_programs) == (1, 1, 0)


def test_five_programs_are_named_and_the_rest_is_counted() -> None:
    """The largest first."""
    sockets = [seen(40000 + 10 * n + k, "BOUND", f"p{n}", protocol="udp") for n in range(7) for k in range(n + 1)]
    found = use("udp", PORTS, sockets)
    assert found.programs == {"p6": 7, "p5": 6, "p4": 5, "p3": 4, "p2": 3}
    assert next(iter(found.programs)) == "p6"
    assert found.other_programs == 1 + 2
