"""The command: what it prints, what it says, how it ends."""

import json
import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from anyport.__main__ import run
from anyport._find import probe, reserved
from anyport._ports import QUIET
from helpers.support import (
    COMMAND,
    NOBODY,
    anyport,
    anyport_as,
    bound,
    listening,
    numbers,
    private_network,
    python,
    sysctl,
)

BAD_INPUT = [
    ("70000", "70000", "65535"), ("0", "0", "1 and"), ("-5", "-5", "1 and"), ("--from 65536", "65536", "65535"),
    ("--in 9000-8000", "9000-8000", "before it begins"), ("--in 80,,90", "80,,90", "empty"),
    ("--in abc", "abc", "65535"),
    ("-n 0", "0", "65535"), ("-n 100000", "100000", "65535"), ("-n x", "x", "65535"), ("--keep -1s", "-1s", "limit, 0"),
    ("--keep soon", "soon", "duration"), ("--keep 25h", "25h", "24h"), ("--name ", "''", "one character"),
    ("--frm 80", "--frm", "unrecognized"), ("--from 1 --in 2", "--from and --in", "together"),
    ("--only", "--only", "number"),
    ("--in -5", "-5", "1 and"), ("--in -5-8", "-5-8", "65535"), ("--from -1", "-1", "1 and"), ("http", "http", "65535"),
    ("--from", "--from", "expected one argument"), ("--host ", "''", "no host"), ("--as 1a", "1a", "label"),
    ("--shell -n 2", "2 ports", "--shell"), ("--shell --json", "--shell", "--json"), ("8080 run", "run", "65535"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "value", "limit"), BAD_INPUT)
def test_bad_input_is_one_line_and_a_hint(
    line: str, value: str, limit: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Exit 2, the value and the limit on one line, the way out on the next; before any socket or file is touched."""

    def touched(*_args: object) -> None:
        raise AssertionError("a system call before the question was understood")

    with monkeypatch.context() as patched:
        patched.setattr(probe, "_socket_class", touched)
        patched.setattr(reserved, "_socket", touched)
        patched.setattr(os, "open", touched)
        status = run(line.split(" "))
    assert status == 2
    out, err = capfd.readouterr()
    first, second = err.splitlines()
    assert out == ""
    assert first.startswith("anyport: ")
    assert value in first
    assert limit in first
    assert second.startswith("hint: ")


def test_the_installed_command_ends_as_its_run_does() -> None:
    """2 for bad input, 0 for an answer; data on stdout, talk on stderr."""
    bad = anyport("70000")
    assert (bad.returncode, bad.stdout) == (2, "")
    good = anyport("8080")
    assert (good.returncode, good.stdout, good.stderr) == (0, "8080\n", "")
    assert anyport("find", "8080").stdout == "8080\n"
    module = subprocess.run([sys.executable, "-m", "anyport"], capture_output=True, text=True, check=True)
    assert int(module.stdout) in QUIET


def test_an_option_that_is_nearly_right_is_suggested() -> None:
    """The way out of a slip."""
    assert "hint: did you mean --from?" in anyport("--form", "80").stderr


def test_help_and_version() -> None:
    """On stdout, exit 0."""
    shown = anyport("--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "--ephemeral" in shown.stdout
    from anyport import __version__

    assert anyport("--version").stdout == f"anyport {__version__}\n"


def test_only_names_who_has_it() -> None:
    """State, address, and the process when we may see it; another number only when it is allowed."""
    with private_network(), listening("127.0.0.1", 2222):
        refused = anyport("--only", "2222")
        assert (refused.returncode, refused.stdout) == (1, "")
        me = f"{Path('/proc/self/comm').read_text().strip()} (pid {os.getpid()}, root)"
        first, second = refused.stderr.splitlines()
        assert first == f"anyport: 2222/tcp is in use: {me} listens on 127.0.0.1"
        assert "hint: leave --only out" in second
        other = anyport("2222")
        assert int(other.stdout) in QUIET
        assert "2222 is in use; gave " in other.stderr


def test_a_process_that_can_not_be_seen_is_not_called_nothing() -> None:
    """An ordinary user and root's socket."""
    with private_network(), listening("127.0.0.1", 2222):
        refused = anyport_as(NOBODY, "--only", "2222")
    assert refused.returncode == 1
    assert "a socket of root, whose process can't be seen, listens on 127.0.0.1\n" in refused.stderr


def test_a_whole_list_in_use_is_told_in_one_message() -> None:
    """Who has each, and exit 1."""
    with private_network(), ExitStack() as stack:
        for port in range(7002, 7012):
            stack.enter_context(bound("127.0.0.1", port) if port % 2 else listening("::1", port))
        refused = anyport("--in", "7002-7011")
        assert (refused.returncode, refused.stdout) == (1, "")
        first, *rest, hint = refused.stderr.splitlines()
        assert first == "anyport: no unused port among 7002-7011: 10 tried, none available"
        assert [line.split("/")[0].strip() for line in rest] == [str(port) for port in range(7002, 7012)]
        assert all(
            ("is bound to 127.0.0.1" if int(line.split("/")[0]) % 2 else "listens on ::1") in line for line in rest
        )
        assert hint.startswith("hint: ")
        for port in range(7012, 7020):
            stack.enter_context(listening("127.0.0.1", port))
        assert "\n  and 6 more\n" in anyport("--in", "7002-7019").stderr


def test_an_address_of_another_machine_is_not_busy() -> None:
    """Exit 1, the address, and what to look at."""
    refused = anyport("--host", "203.0.113.9")
    assert refused.returncode == 1
    assert "203.0.113.9 can't be bound on this machine: Cannot assign requested address" in refused.stderr
    assert "hint: " in refused.stderr
    unknown = anyport("--host", "no-such-host.invalid")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "no-such-host.invalid' does not resolve" in unknown.stderr


def test_a_link_local_address_needs_its_interface() -> None:
    """Bind says EINVAL, which is not use."""
    refused = anyport("--host", "fe80::1")
    assert refused.returncode == 1
    assert "fe80::1 can't be bound on this machine: Invalid argument" in refused.stderr
    assert "hint: a link-local address needs its interface: fe80::1%" in refused.stderr


def test_too_many_are_counted() -> None:
    """How many were found, how many are in use."""
    with private_network((40000, 40003)), listening("127.0.0.1", 40001):
        refused = anyport("--ephemeral", "-n", "4")
        assert "no 4 unused ports in the ephemeral range 40000-40003" in refused.stderr
        assert "3 found" in refused.stderr
        long = anyport("-n", "5000", "--contiguous")
        assert (
            "no 5000 unused ports in a row in the quiet range: the longest run of such numbers is 2445" in long.stderr
        )


def test_a_number_before_a_name() -> None:
    """It is tried first; the name's own number comes only if it is in use."""
    with private_network():
        assert anyport("--name", "web", "8080").stdout == anyport("--here", "8080").stdout == "8080\n"
        assert len(numbers(anyport("--name", "web", "-n", "2", "8080").stdout)) == 2
        with listening("::1", 8080):
            other = anyport("--name", "web", "8080")
            assert other.stdout == anyport("--name", "web").stdout
            assert "note: 8080 is in use" in other.stderr


def test_the_hint_asks_the_same_question() -> None:
    """`--only 5353` alone would ask for TCP."""
    with private_network(), bound("127.0.0.1", 5353, socket.SOCK_DGRAM):
        assert "hint: `anyport who 5353` shows what is using it" in anyport("--udp", "5353").stderr


def test_a_block_that_could_not_begin_where_it_was_wanted() -> None:
    """Is another one, and the command says so."""
    with private_network(), listening("127.0.0.1", 8081):
        other = anyport("--contiguous", "-n", "2", "8080")
        assert len(numbers(other.stdout)) == 2
        assert (
            "note: 8080 is not the first of 2 ports in a row that are unused and may be offered; gave " in other.stderr
        )


def test_the_cause_is_the_true_one() -> None:
    """Excluded, not exhausted; excluded, not ephemeral."""
    with private_network():
        none = anyport("--exclude", "1-65535")
        assert none.returncode == 1
        assert "all are excluded" in none.stderr
        assert "the kernel has none left" not in none.stderr
        moved = anyport("--exclude", "10000-29999")
        assert "warning: " in moved.stderr
        assert "too few ports of the quiet range are unused and allowed" in moved.stderr
        assert "sysctl" not in moved.stderr
    with private_network((1024, 65535)), listening("127.0.0.1", 8080):
        assert "warning: " in anyport("8080").stderr, "nobody asked for an ephemeral number"


def test_a_host_with_a_port_is_told_apart() -> None:
    """A slip that is easily made."""
    assert "hint: name the host without a port: --host 127.0.0.1" in anyport("--host", "127.0.0.1:8080").stderr


def test_passed_over_numbers_are_told_in_one_note() -> None:
    """And only once each reason."""
    with private_network(), listening("127.0.0.1", 7002), listening("127.0.0.1", 7003):
        other = anyport("7002", "7003", "7004", "--exclude", "7004")
        assert "note: 7002, 7003 are in use; gave " in other.stderr
        assert "note: 7004 is excluded; gave " in other.stderr


def test_elsewhere_it_says_so(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """Linux only so far."""
    import anyport as package

    monkeypatch.setattr(sys, "platform", "darwin")
    assert run([]) == 1
    assert "anyport runs on Linux only so far, and this is darwin" in capfd.readouterr().err
    monkeypatch.delitem(vars(package), "find", raising=False)
    with pytest.raises(package.Unsupported):
        package.find()


def test_a_privileged_port_is_not_busy() -> None:
    """EACCES: the sysctl and its value; root may have it."""
    with private_network():
        refused = anyport_as(NOBODY, "--only", "80")
        assert refused.returncode == 1
        assert "80/tcp is not permitted: below net.ipv4.ip_unprivileged_port_start = 1024" in refused.stderr
        assert "in use" not in refused.stderr
        other = anyport_as(NOBODY, "80")
        assert int(other.stdout) in QUIET
        assert "80 is not permitted; gave" in other.stderr
        assert anyport("--only", "80").stdout == "80\n"
        sysctl("net/ipv4/ip_unprivileged_port_start", "80")
        assert anyport_as(NOBODY, "--only", "80").stdout == "80\n"


def test_an_exhausted_ephemeral_range_is_the_kernels_word() -> None:
    """Three ports, all taken."""
    with private_network((40000, 40002)), ExitStack() as stack:
        for port in range(40000, 40003):
            stack.enter_context(bound("127.0.0.1", port))
        refused = anyport("--ephemeral")
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "no unused port in the ephemeral range 40000-40002: the kernel has none left to give" in refused.stderr
        assert "hint: " in refused.stderr
        assert anyport("--ephemeral", "-n", "2").returncode == 1
        assert anyport("--ephemeral", "--host", "127.0.0.2").returncode == 0


def test_an_ephemeral_number_must_be_unused_everywhere_it_was_asked_for() -> None:
    """The kernel draws for one address; the others are tried too."""
    with private_network((40000, 40003)), ExitStack() as stack:
        for port in (40000, 40001, 40003):
            stack.enter_context(bound("127.0.0.1", port, socket.SOCK_DGRAM))
        assert anyport("--ephemeral", "--tcp", "--udp").stdout == "40002\n"
        stack.enter_context(bound("127.0.0.1", 40002, socket.SOCK_DGRAM))
        refused = anyport("--ephemeral", "--tcp", "--udp")
        assert refused.returncode == 1
        assert "4 tried" in refused.stderr


def test_no_descriptors_left() -> None:
    """The limit is named; nothing else is blamed."""

    code = """
import sys, resource
from anyport.__main__ import run
from anyport._find import found
from anyport._cli import output
import os
spare = [os.open("/dev/null", os.O_RDONLY) for _ in range(int(sys.argv[1]))]
resource.setrlimit(resource.RLIMIT_NOFILE, (len(spare) + 3 + int(sys.argv[2]), 4096))
sys.exit(run(["8080"]))
"""
    for left in range(2):  # none; one, which the socket takes before the ledger
        refused = python(code, "5", str(left))
        assert (refused.returncode, refused.stdout) == (1, ""), left
        assert "Too many open files" in refused.stderr
        assert f"RLIMIT_NOFILE is {8 + left}" in refused.stderr
        assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("where", ["/dev/full", "closed", "broken pipe"])
def test_output_that_can_not_be_written(where: str) -> None:
    """Exit 1 and a message, no traceback; nothing is claimed for a closed one."""
    if where == "/dev/full":
        with Path(where).open("w") as full:
            done = subprocess.run([COMMAND], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    elif where == "closed":
        done = subprocess.run(f"{COMMAND} >&-", shell=True, stderr=subprocess.PIPE, text=True, check=False)
    else:
        read, write = os.pipe()
        os.close(read)
        done = subprocess.run([COMMAND], stdout=write, stderr=subprocess.PIPE, text=True, check=False)
        os.close(write)
    assert done.returncode == 1
    assert "standard output" in done.stderr
    assert "hint: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("options", [["--json"], ["--json", "--host", "203.0.113.9"], ["--help"]])
def test_no_output_of_any_kind_ends_in_a_traceback(options: list[str]) -> None:
    """JSON of an answer, JSON of an error, the help."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([COMMAND, *options], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert "standard output" in done.stderr
    assert "Traceback" not in done.stderr


def test_all_streams_closed() -> None:
    """Nothing to read, nothing to say, and no descriptor of ours is written to instead."""
    done = subprocess.run(f"{COMMAND} <&- >&- 2>&-", shell=True, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")


def test_json_answers() -> None:
    """Port, hosts, protocols; refusals when there are any."""
    plain = json.loads(anyport("--json").stdout)
    assert plain.pop("port") in QUIET
    assert plain == {"hosts": ["0.0.0.0", "::"], "protocols": ["tcp"]}
    several = json.loads(anyport("--json", "--as", "web", "--as", "db", "--udp", "--host", "::1").stdout)
    assert several["labels"] == dict(zip(["web", "db"], several["ports"], strict=True))
    assert (several["hosts"], several["protocols"]) == (["::1"], ["udp"])
    with private_network(), listening("127.0.0.1", 2222):
        refused = anyport("--json", "--only", "2222")
        facts = json.loads(refused.stdout)
        assert refused.returncode == 1
        assert "in use" in facts["error"]
        passed = json.loads(anyport("--json", "2222").stdout)
        assert passed["refusals"] == facts["refusals"]
    (refusal,) = facts["refusals"]
    (occupant,) = refusal["occupants"]
    assert (refusal["port"], refusal["protocol"], refusal["errno"]) == (2222, "tcp", 98)
    assert (occupant["state"], occupant["address"], occupant["uid"]) == ("LISTEN", "127.0.0.1", 0)
    assert [process["pid"] for process in occupant["processes"]] == [os.getpid()]


def test_exclude_and_preferences() -> None:
    """Excluded numbers are never given, named or not."""
    with private_network():
        assert anyport("8080", "--exclude", "8080", "8081").stdout == "8081\n"
        assert anyport("--in", "20123-20125", "--exclude", "20123", "--exclude", "20125").stdout == "20124\n"
        none = anyport("--in", "20123", "--exclude", "20123")
        assert none.returncode == 1
        assert "excluded" in none.stderr
        assert numbers(anyport("8080", "8081", "-n", "3").stdout)[:2] == [8080, 8081]
        assert numbers(anyport("--in", "7002-7005", "--order", "ascending", "-n", "3").stdout) == [7002, 7003, 7004]


def test_reserved_and_bad_numbers_are_given_only_when_named() -> None:
    """ip_local_reserved_ports, and what browsers refuse."""
    with private_network(reserved="20124"):
        assert anyport("--from", "20123").stdout == "20123\n"
        assert anyport("--from", "20123").stdout == "20125\n"
        assert anyport("20124").stdout == "20124\n"
        assert anyport("--from", "6665").stdout == "6670\n"
        assert anyport("--in", "6667").stdout == "6667\n"
        none = anyport("--in", "6665-6669")
        assert none.returncode == 1
        assert "refused by browsers" in none.stderr
