"""Supervision under strain: nothing hangs, and no call is lost, answered twice or interrupted."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from anyport._clock import pauses
from anyport._linux import proc, seccomp
from helpers.running import run, script, start
from helpers.support import program

OPTIONS = ("--hand-over", "supervised", "--")
BINDS = """
import os, socket
sock = socket.socket()
try:
    sock.bind(("", int(os.environ["PORT"])))
    print("bound", flush=True)
except OSError as error:
    print(error, flush=True)
"""


def begun(runner: "subprocess.Popen[str]", call: str) -> int:
    """The program's pid, once it waits in this system call for an answer that does not come."""
    machine = seccomp.machine()
    assert machine
    for _ in pauses(60):
        for pid in proc.descendants(runner.pid):
            if Path(f"/proc/{pid}/syscall").read_text().startswith(f"{machine.calls[call]} "):
                return pid
    pytest.fail(f"no {call} is waiting")


def stopped_runner(tmp_path: Path, code: str) -> "subprocess.Popen[str]":
    """A runner that is stopped just before its program begins to work."""
    go = tmp_path / "go"
    os.mkfifo(go)
    runner = start(*OPTIONS, *script(tmp_path, f"open({str(go)!r}).read()\n{code}"))
    with go.open("w"):  # the program is there
        runner.send_signal(signal.SIGSTOP)
    return runner


@pytest.mark.parametrize("call", ["bind", "listen"])
def test_a_program_may_be_killed_while_its_call_waits(tmp_path: Path, call: str) -> None:
    """The runner ends as it did, and the port is free."""
    bind = 'sock.bind(("", int(os.environ["PORT"])))' if call == "bind" else ""
    runner = stopped_runner(tmp_path, f"import os, socket\nsock = socket.socket()\n{bind}\nsock.listen()")
    if call == "listen":  # without a port: it waits all the same
        assert begun(runner, "listen")
    os.kill(begun(runner, call), signal.SIGKILL)
    runner.send_signal(signal.SIGCONT)
    assert runner.communicate(timeout=60) == ("", "")
    assert runner.returncode == -signal.SIGKILL


TIMER = """
import signal
signal.signal(signal.SIGALRM, lambda *_: None)
signal.siginterrupt(signal.SIGALRM, False)
signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
"""
NO_TIMER = "signal.setitimer(signal.ITIMER_REAL, 0)"


def test_signals_do_not_break_into_a_call_that_waits_long(tmp_path: Path) -> None:
    """One every 10 ms, with SA_RESTART: it is answered, once, when the runner comes to it."""
    runner = stopped_runner(tmp_path, TIMER + BINDS + NO_TIMER)
    begun(runner, "bind")
    with pytest.raises(subprocess.TimeoutExpired):
        runner.wait(0.2)
    runner.send_signal(signal.SIGCONT)
    assert runner.communicate(timeout=60) == ("bound\n", "")


@pytest.mark.parametrize("restarts", [True, False])
def test_signals_every_10_ms_among_a_thousand_calls(tmp_path: Path, restarts: bool) -> None:
    """Without SA_RESTART a call may be interrupted before the runner has seen it; then it was not made."""
    code = TIMER + program("thousand_calls.py") + NO_TIMER
    done = run(*OPTIONS, *script(tmp_path, code), "restarts" if restarts else "does not")
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_fifty_threads_bind_at_once(tmp_path: Path) -> None:
    """Thousands of calls: of the port itself, others, port 0, and sockets that have no port."""
    code = program("fifty_threads.py")
    assert run(*OPTIONS, *script(tmp_path, code)).stdout == "1000 []\n"


def test_the_program_goes_on_when_the_runner_is_killed(tmp_path: Path) -> None:
    """It gets SIGTERM, serves on if it likes, and can't bind any more: ENOSYS."""
    code = program("outlives_runner.py")
    runner = start(*OPTIONS, *script(tmp_path, code))
    assert runner.stdout
    pid = int(runner.stdout.readline())
    assert runner.stdout.readline() == "serving\n"
    pidfd = os.pidfd_open(pid)
    runner.kill()
    assert runner.communicate(timeout=60)[0] == "b'here'\nFunction not implemented\n"
    os.close(pidfd)


def test_the_runner_ends_when_a_daemon_is_busy_binding(tmp_path: Path) -> None:
    """What it left in the background answers from then on, without a break, and ends with the daemon."""
    code = program("busy_daemon.py")
    assert run(*OPTIONS, *script(tmp_path, code)).stdout == "bound\n"


def test_a_program_whose_connect_waits_can_be_ended(tmp_path: Path) -> None:
    """Also after a signal that it handles, which a call that is being made does not let through."""
    code = """
import socket
server = socket.create_server(("127.0.0.1", 8080), backlog=0)
clients = [socket.socket() for _ in range(4)]
for client in clients[:3]:
    client.setblocking(False)
    client.connect_ex(("127.0.0.1", 8080))
clients[3].connect(("127.0.0.1", 8080))
"""
    runner = start("--map", "8080", "--", *script(tmp_path, TIMER + code))
    begun(runner, "connect")
    runner.terminate()
    assert runner.communicate(timeout=60) == ("", "")
    assert runner.returncode == -signal.SIGTERM
