"""`who` and `wait --tree` where /proc tells oddly of a process: its first thread has ended, its pid is used again."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import anyport
from anyport._clock import pauses
from anyport._linux import proc
from anyport._processes import process
from helpers.asking import who_as
from helpers.support import COMMAND, free_uid, listening, needs, needs_root, program
from helpers.support import anyport as command

# Its first thread ends; another one listens when it is told to.
LEADERLESS = program("leaderless.py")


@contextmanager
def leaderless(uid: int, port: int) -> Iterator["subprocess.Popen[str]"]:
    """Such a process, whose first thread has ended: /proc calls it a zombie."""
    words = [sys.executable, "-c", LEADERLESS, str(uid), str(port)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as found:
        try:
            assert found.stdout
            assert found.stdout.readline() == "ready\n"
            assert any((stat := proc.stat(found.pid)) and stat.state == "Z" for _ in pauses(60))
            yield found
        finally:
            found.kill()


def have_listen(server: "subprocess.Popen[str]") -> None:
    assert server.stdin
    assert server.stdout
    server.stdin.write("\n")
    server.stdin.flush()
    assert server.stdout.readline() == "listens\n"


def test_a_process_whose_first_thread_has_ended_has_its_sockets() -> None:
    """`who` finds it by its other threads, for root and for its own user."""
    needs_root()
    uid = free_uid("leaderless")
    with leaderless(uid, 20123) as server:
        have_listen(server)
        (found,) = anyport.who(20123)
        assert [each.pid for each in found.processes] == [server.pid]
        assert f"(pid {server.pid}, uid {uid}) listens" in who_as(uid, "20123", "--tcp").stdout
        assert "whose process can't be seen" in who_as(free_uid("a stranger"), "20123", "--tcp").stdout


def test_a_process_whose_first_thread_has_ended_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has not ended: a time-out says that it does not listen, and when it does that counts."""
    with leaderless(os.geteuid(), 20123) as server:
        with pytest.raises(anyport.TimedOut, match="timed out after 0 s, and no socket that process"):
            anyport.wait(20123, tree=server.pid, timeout=0)
        monkeypatch.setattr("time.sleep", lambda _seconds: have_listen(server))
        anyport.wait(20123, tree=server.pid)
        os.close(process(server.pid))  # of which `hold --while` is to see the end


REUSES = program("reuses_a_pid.py")


def test_a_number_that_is_used_again_is_another_process() -> None:
    """The one that was meant has ended, and the server that has its pid now does not count."""
    needs_root()
    words = [needs("unshare"), "-pf", "--mount-proc", sys.executable, "-c", REUSES]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    assert " has ended, and no socket that process " in done.stdout
    assert ") listens on 127.0.0.1" in done.stdout


@pytest.mark.parametrize("where", ["-m", "-pf"])
def test_the_proc_of_others(where: str) -> None:
    """None, or that of another pid namespace: no note speaks of rights, and a tree is not looked for under it."""
    needs_root()
    hide = f"{needs('mount')} -t tmpfs none /proc && " if where == "-m" else ""
    inside = [needs("unshare"), where, "sh", "-c", f'{hide}"$@"', "sh", COMMAND]
    with listening("127.0.0.1", 20123):
        asked = subprocess.run([*inside, "who", "20123", "--tcp"], capture_output=True, text=True, check=False)
        words = [*inside, "wait", "20123", "--tree", "1", "--timeout", "0"]
        waited = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (asked.returncode, asked.stderr) == (0, "")
    assert "20123/tcp is in use: " in asked.stdout
    note = "\n  /proc, which would show the process, is not mounted here, or is another pid namespace's\n"
    assert (note in asked.stdout) is (where == "-m")
    assert (waited.returncode, waited.stdout) == (125, "")
    assert waited.stderr == (
        "anyport: the sockets of process 1 can't be seen\n"
        "hint: that takes the /proc of this pid namespace; or wait without it\n"
    )
    seen = subprocess.run([*inside, "doctor"], capture_output=True, text=True, check=True).stdout
    assert "see processes       none, or under other numbers: /proc is not mounted here, or is" in seen


def test_nothing_of_that_is_said_here() -> None:
    """Where /proc is as usual."""
    assert proc.is_ours()
    assert "none, or under other numbers" not in command("doctor").stdout
