"""`anyport hold`: a process in the background that holds a port until the caller ends."""

import json
import os
import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from anyport._clock import pauses
from anyport._linux import proc, sock_diag
from helpers.running import assert_refused
from helpers.support import COMMAND, NOBODY, anyport, anyport_as, bound, free_uid, listening

HOLD = shlex.quote(COMMAND) + " hold"


def holder_of(port: int, protocol: str = "tcp") -> int:
    """The pid of the process that holds a port, or 0."""
    rows = [row for row in sock_diag.sockets(protocol, port) if row.state == "BOUND"]
    owners = [pid for each in proc.socket_owners({row.inode for row in rows}).values() for pid, _ in each]
    return owners[0] if owners else 0


def wait_until_free(port: int) -> None:
    assert any(not sock_diag.sockets("tcp", port) for _ in pauses(60)), "still held"


@pytest.fixture(autouse=True)
def nothing_stays_held() -> Iterator[None]:
    """Holders are nobody's children, so the check for those does not find them."""
    yield
    for row in sock_diag.sockets("tcp") + sock_diag.sockets("udp"):
        for pid, name in proc.socket_owners({row.inode}).get(row.inode, ()):
            if name == "anyport-hold":
                os.kill(pid, signal.SIGKILL)


def shell(script: str, *, program: str = "bash") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [program, "-c", script], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("program", ["bash", "dash"])
@pytest.mark.parametrize("how", [f"$({HOLD})", f"$({HOLD} || exit 1)", f"$({HOLD} | cat)", f"`{HOLD}`"])
def test_the_port_is_held_as_long_as_the_shell_that_called(program: str, how: str) -> None:
    """The shell, not its subshell: whatever stands around the command."""
    assert_held_while_it_lives(program, f'port={how}; echo "$port"')


def test_a_pipe_does_not_shorten_the_hold() -> None:
    """`anyport hold | tee f`: the command's process is a child of the shell, tee ends at once."""
    assert_held_while_it_lives("bash", f"{HOLD} | cat")


def assert_held_while_it_lives(program: str, script: str) -> None:
    """The port that a shell prints is held until the shell ends, and not longer."""
    process = subprocess.Popen(
        [program, "-c", f"{script}; read -r line"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    port = int(process.stdout.readline())
    assert holder_of(port)
    process.communicate("end\n", timeout=60)
    wait_until_free(port)


def test_while_another_process_lives() -> None:
    """--while PID; the caller's own end does not count then."""
    other = subprocess.Popen(["sleep", "60"])
    port = int(shell(f"{HOLD} --while {other.pid}").stdout)
    assert holder_of(port)
    other.kill()
    other.wait()
    wait_until_free(port)


def test_for_some_time() -> None:
    """--for 300ms, whoever calls; that a process has it is told, for it may be over when we could look."""
    facts = json.loads(shell(f"{HOLD} --for 300ms --json").stdout)
    assert facts["holder"] > 1
    wait_until_free(facts["port"])


def test_whichever_comes_first_ends_the_hold() -> None:
    """--while and --for together."""
    port = int(anyport("hold", "--while", str(os.getpid()), "--for", "100ms").stdout)
    wait_until_free(port)


def test_release_ends_the_hold_at_once() -> None:
    """When the command returns the port is nobody's; once more is an error."""
    port = anyport("hold").stdout.strip()
    assert anyport("hold", "--release", port).returncode == 0
    assert not sock_diag.sockets("tcp", int(port))
    again = anyport("hold", f"--release={port}")
    assert again.returncode == 1
    assert again.stderr.startswith(f"anyport: {port} is not held by `anyport hold`, as far as can be seen\nhint: ")


def test_what_was_held_together_is_released_together() -> None:
    """And it is said."""
    first, second = anyport("hold", "-n", "2").stdout.split()
    assert holder_of(int(first)) == holder_of(int(second))
    done = anyport("hold", "--release", first)
    assert done.stderr == f"anyport: note: {second}, held by the same call, is released too\n"
    assert not holder_of(int(second))


def test_release_leaves_others_alone() -> None:
    """A bound socket of another program is no hold of ours."""
    with bound("::", 20123):
        refused = anyport("hold", "--release", "20123")
    assert refused.returncode == 1
    assert "`anyport who 20123` shows what is using it" in refused.stderr


def test_another_user_can_not_release_it() -> None:
    """His own /proc does not even show it."""
    port = anyport("hold").stdout.strip()
    refused = anyport_as(NOBODY, "hold", "--release", port)
    assert refused.returncode == 1
    assert holder_of(int(port))


def test_another_user_holds_as_well() -> None:
    """With nothing but his own rights."""
    done = anyport_as(free_uid("holder"), "hold", "--for", "20s", env={**os.environ, "ANYPORT_LEDGER": "/dev/null"})
    assert done.returncode == 0, done.stderr
    assert holder_of(int(done.stdout))


def test_the_holder_is_small_and_detached() -> None:
    """A session of its own, /dev/null for a terminal, the socket and the caller's pidfd, nothing else; and asleep."""
    with open(os.devnull) as file:
        os.set_inheritable(file.fileno(), True)
        port = int(anyport("hold", close_fds=False).stdout)
    pid = holder_of(port)
    assert os.getsid(pid) == pid
    links = sorted(os.readlink(f"/proc/{pid}/fd/{fd}").split(":")[0] for fd in os.listdir(f"/proc/{pid}/fd"))
    assert links == ["/dev/null", "/dev/null", "/dev/null", "anon_inode", "socket"]
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    assert int(status["VmRSS"].split()[0]) < 14 * 1024
    assert status["SigBlk"].strip("\t0") == ""
    assert Path(f"/proc/{pid}/wchan").read_text() != "0"  # it waits in the kernel


@pytest.mark.parametrize("closed", ["<&-", "<&- 2>&-", "2>&-"])
def test_closed_standard_streams_do_not_become_the_hold(closed: str) -> None:
    """A socket as descriptor 0 would be lost on the way to the background."""
    done = shell(f"{HOLD} --for 20s {closed}")
    assert holder_of(int(done.stdout))


def test_nothing_is_held_that_nobody_was_told_of() -> None:
    """Standard output full: the hold ends with the error."""
    done = shell(f"{HOLD} 20123 --only --for 60s >/dev/full")
    assert done.returncode == 1
    assert "can't write to standard output" in done.stderr
    wait_until_free(20123)


def test_json_names_the_holder() -> None:
    """So a script can end it by a signal; --shell has names."""
    facts = json.loads(anyport("hold", "--json", "--tcp", "--udp").stdout)
    assert facts["protocols"] == ["tcp", "udp"]
    assert holder_of(facts["port"]) == holder_of(facts["port"], "udp") == facts["holder"]
    os.kill(facts["holder"], signal.SIGTERM)
    wait_until_free(facts["port"])
    assert anyport("hold", "--as", "web", "--shell", "--for", "1s").stdout.startswith("WEB_PORT=")


def test_numbers_are_tried_first() -> None:
    """As arguments or with --port."""
    with listening("127.0.0.1", 20123):
        done = anyport("hold", "20123", "--port", "20124", "--for", "10s")
        assert done.stdout == "20124\n"
        assert "20123 is in use; gave 20124" in done.stderr


def test_inside_the_ephemeral_range_only_udp_is_told_of() -> None:
    """A TCP hold keeps its number there too, so there is nothing to say."""
    assert anyport("hold", "--ephemeral", "--for", "1s").stderr == ""
    told = anyport("hold", "--ephemeral", "--udp", "--for", "1s").stderr
    assert "for UDP the kernel may give it to a program that sets SO_REUSEADDR and binds port 0" in told


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["--while", "4194304"], 2, "there is no process with pid 4194304"),
        (["--while", "0"], 2, "'0' is no pid"),
        (["--while", "x"], 2, "'x' is no pid"),
        (["--while", "99999999999999999999"], 2, "there is no process with pid 99999999999999999999"),
        (["--for", "soon"], 2, "'soon' is not a duration"),
        (["--for", "0"], 2, "a hold of 0 s would be none"),
        (["--for", "-1s"], 2, "the duration -1s is below its limit, 0"),
        (["--release", "70000"], 2, "port 70000"),
        (["--release", "8080", "--for", "1m"], 2, "--release goes with nothing else"),
        (["--release", "8080", "8081"], 2, "--release goes with nothing else"),
        (["--release"], 2, "argument --release: expected one argument"),
        (["--relase", "8080"], 2, "unrecognized arguments: --relase"),
        (["--release", "20123"], 1, "20123 is not held by `anyport hold`, as far as can be seen"),
    ],
)
def test_bad_input_is_one_line_and_a_hint(words: list[str], status: int, message: str) -> None:
    """Before anything is held."""
    done = anyport("hold", *words)
    assert_refused(done, status, message)


def test_a_process_that_ended_and_was_not_reaped_is_gone() -> None:
    """A zombie can't be what a hold waits for."""
    child = subprocess.Popen(["true"])
    assert any((found := proc.stat(child.pid)) and found.state == "Z" for _ in pauses(60))
    assert "there is no process with pid" in anyport("hold", "--while", str(child.pid)).stderr
    child.wait()


def test_help_is_there() -> None:
    """With its own options."""
    shown = anyport("hold", "--help")
    assert shown.returncode == 0
    assert "--release N" in shown.stdout


def test_release_ends_all_holds_of_the_number() -> None:
    """Two calls may hold it on two addresses."""
    for host in ("127.0.0.1", "::1"):
        assert anyport("hold", "20123", "--only", "--host", host, "--for", "20s").returncode == 0
    assert anyport("hold", "--release", "20123").returncode == 0
    assert not sock_diag.sockets("tcp", 20123)


def test_an_orphan_is_told_that_nobody_calls() -> None:
    """Init never ends, and neither would the hold."""
    code = f"(read line <&3; {HOLD}) 3<&0 2>&1 & exit 0"
    process = subprocess.Popen(["setsid", "sh", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    process.wait()
    said = process.communicate("go\n", timeout=60)[0]
    assert said.startswith("anyport: the process that called can't be seen: it has ended")
