"""What `anyport who` has to say besides: whose it is, for how long, and what else is worth knowing."""

import os
import re
from pathlib import Path

import pytest

import anyport
from anyport._linux import sock_diag
from anyport._occupant import UNSEEN
from helpers.asking import LISTENS, USER, assert_lines, leave_time_wait, said_of_unused, started_as, who, who_as
from helpers.running import SERVER, content_of, end, script, start
from helpers.support import NOBODY, anyport_as, bound, listening, needs_root, private_network, sysctl
from helpers.support import anyport as command


def test_time_wait() -> None:
    """For how long, and who does not mind."""
    leave_time_wait(20123)
    lines = who("20123", "--tcp")
    assert_lines(
        lines,
        r"20123/tcp is in use: TIME_WAIT for (60|5\d) s more on 127\.0\.0\.1, left over from a connection to "
        r"127\.0\.0\.1:\d+",
        r"  a server with SO_REUSEADDR.* can bind it all the same", "",
        r"PROTO  STATE +LOCAL +REMOTE", r"tcp    TIME_WAIT (60|5\d)s  127\.0\.0\.1:20123  127\.0\.0\.1:\d+",
    )  # fmt: skip
    (left,) = anyport.who(20123)
    assert left.is_left_over
    assert left.seconds_left is not None
    assert 50 < left.seconds_left <= 60


def test_time_wait_on_a_privileged_number() -> None:
    """To a user who may not bind it nothing is said of what a server with SO_REUSEADDR meets: he can't find out."""
    needs_root()
    leave_time_wait(80)
    lines = who_as(NOBODY, "80", "--tcp").stdout.splitlines()
    assert lines[1] == "  it can't be bound by you: below net.ipv4.ip_unprivileged_port_start = 1024"
    waited = anyport_as(NOBODY, "wait", "80", "--until", "unused")
    assert (waited.returncode, waited.stdout, waited.stderr) == (0, "", "")
    assert "can bind it all the same" in who("80", "--tcp")[1]


def test_a_number_that_anyport_gave() -> None:
    """Said as long as its claim lasts; a call with another ledger knows nothing of it."""
    port = command("find", "--keep", "90s").stdout.strip()
    given = r"  given out by anyport \d s ago; .* for (90|8\d) s more.*"
    lines = said_of_unused(port, "--tcp")
    assert_lines(lines, f"{port}/tcp is unused", given)
    assert_lines(said_of_unused(port), f"{port}/tcp is unused", given, f"{port}/udp is unused")
    ledger = Path(os.environ["ANYPORT_LEDGER"])
    content = bytearray(ledger.read_bytes())
    content[4] ^= 1  # of the boot id: what was given out before the machine was started is nobody's
    ledger.write_bytes(content)
    assert said_of_unused(port, "--tcp") == [f"{port}/tcp is unused"]
    other = command("who", port, "--tcp", env={**os.environ, "ANYPORT_LEDGER": "/dev/null"})
    assert other.stdout == f"{port}/tcp is unused\n"


def test_reserved_ephemeral_and_refused_by_browsers() -> None:
    """What the kernel's settings and browsers have to do with a number."""
    needs_root()
    with private_network((40000, 40100), reserved="20123"):
        reserved = "  in net.ipv4.ip_local_reserved_ports: the kernel gives it to nobody by itself"
        assert said_of_unused("20123", "--tcp") == ["20123/tcp is unused", reserved]
        ephemeral = "  inside the ephemeral range 40000-40100, so an outgoing connection may take it"
        assert said_of_unused("40100", "--udp") == ["40100/udp is unused", ephemeral]
        assert said_of_unused("40100") == ["40100/tcp is unused", ephemeral, "40100/udp is unused"]
        with listening("127.0.0.1", 40100):
            assert who("40100")[1:3] == ["40100/udp is unused", ephemeral]
        browsers = "  on the list of ports that browsers refuse"
        assert said_of_unused("6667") == ["6667/tcp is unused", browsers, "6667/udp is unused"]


def test_who_has_a_hold() -> None:
    """The process of `anyport hold`, which is named as that."""
    port = command("hold").stdout.strip()
    try:
        lines = who(port, "--tcp", "--no-connections")
        pid = anyport.who(port)[0].processes[0].pid
        assert_lines(
            lines[:4], rf"{port}/tcp is in use: anyport-hold \(pid {pid}, {USER}\) is bound to :: and does not listen",
            rf"  held by `anyport hold` \(pid {pid}\)", "  given out by anyport .*", "",
        )  # fmt: skip
    finally:
        command("hold", "--release", port)


@pytest.mark.parametrize("hand_over", ["supervised", "shared"])
def test_who_has_a_port_under_run(hand_over: str, tmp_path: Path) -> None:
    """The program listens, and the runner is named as the one that holds the number."""
    ready = tmp_path / "ready"
    words = [*script(tmp_path, SERVER), "{port}", "reuse"]
    runner = start("--hand-over", hand_over, "--port-file", str(ready), "--", *words)
    port = content_of(ready, runner).strip()
    lines = who(port, "--tcp")
    end(runner)
    assert re.match(rf"{port}/tcp is in use: python\S* \(pids? .*, {USER}\) listens on 127\.0\.0\.1", lines[0]), lines
    assert f"  held by `anyport run` (pid {runner.pid})" in lines
    assert str(runner.pid) not in lines[0]


def test_another_users_process() -> None:
    """An ordinary user is told whose the socket is, and how to see more; root sees the process."""
    with listening("127.0.0.1", 20123):
        done = who_as(NOBODY, "20123", "--tcp")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[:2] == [
        "20123/tcp is in use: a socket of root, whose process can't be seen, listens on 127.0.0.1",
        "  only its user and root can see which process has it: `sudo anyport who 20123`",
    ]
    assert re.fullmatch(r"tcp    LISTEN  127\.0\.0\.1:20123  root  \?", lines[-1])
    with started_as(NOBODY, LISTENS, "20123") as process:
        found = rf"20123/tcp is in use: python\S* \(pid {process.pid}, nobody\) listens on 127\.0\.0\.1"
        assert re.fullmatch(found, who("20123", "--tcp")[0])
        (occupant,) = anyport.who(20123)
        assert (occupant.uid, occupant.user) == (NOBODY, "nobody")


def test_a_privileged_number() -> None:
    """Unused, but not to be bound: exit status 1, for nothing has it; root can."""
    done = who_as(NOBODY, "80", "--tcp")
    why = "but can't be bound by you: below net.ipv4.ip_unprivileged_port_start = 1024"
    assert (done.returncode, done.stdout, done.stderr) == (1, f"80/tcp is unused, {why}\n", "")
    assert said_of_unused("80", "--tcp") == ["80/tcp is unused"]
    with private_network():
        sysctl("net/ipv4/ip_unprivileged_port_start", "80")
        assert who_as(NOBODY, "80", "--tcp").stdout == "80/tcp is unused\n"


def test_what_no_table_shows_is_told_by_a_bind(monkeypatch: pytest.MonkeyPatch) -> None:
    """As before Linux 6.8: a bound-only socket is never called unused."""
    rows = sock_diag._rows
    monkeypatch.setattr(
        sock_diag, "_rows", lambda *args: [row for row in rows(*args) if (row.protocol, row.state) != ("tcp", "BOUND")]
    )
    with bound("127.0.0.1", 20123) as sock:
        assert anyport.who(20123, udp=True) == []
        (hidden,) = anyport.who(20123)
        assert (hidden.protocol, hidden.state, hidden.port, hidden.processes) == ("tcp", UNSEEN, 20123, ())
        assert anyport.who("20120-20129") == []
        sock.listen()
        assert [each.state for each in anyport.who(20123)] == ["LISTEN"]
    assert anyport.who(20123) == []
