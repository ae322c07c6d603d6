"""`anyport.wait` with real sockets: what it waits for, and what it says when that does not come."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import pytest

import anyport
from anyport._linux import proc
from helpers.asking import USER, leave_time_wait
from helpers.support import NOBODY, bound, free_uid, listening, program, python_as

Looking = Callable[[int, Callable[[], object]], None]
SERVES = """
import os, socket, sys
if "grandchild" in sys.argv and os.fork():
    os.wait()
    sys.exit()
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("ready", flush=True)
input()
"""


@contextmanager
def child(*args: str) -> Iterator["subprocess.Popen[str]"]:
    """A server in a process of its own, which listens."""
    words = [sys.executable, "-c", SERVES, *args]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        yield process


@pytest.fixture
def at_pause(monkeypatch: pytest.MonkeyPatch) -> Looking:
    """Have something happen between two looks: instead of the pause of this number."""
    todo: dict[int, Callable[[], object]] = {}
    pauses, sleep = iter(range(1, 1_000_000)), time.sleep

    def rest(seconds: float) -> None:
        number = next(pauses)
        (todo.pop(number) if number in todo else lambda: sleep(seconds))()

    monkeypatch.setattr(time, "sleep", rest)
    return todo.__setitem__


def timed_out(*ports: "int | str", timeout: "float | str" = 0, **words: object) -> anyport.TimedOut:
    """What it says when it does not come to that."""
    with pytest.raises(anyport.TimedOut) as error:
        anyport.wait(ports, timeout=timeout, **words)  # type: ignore[arg-type]
    assert isinstance(error.value, TimeoutError)
    return error.value


def test_what_listens_already_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """One look, and no pause; so with a time-out of 0 too."""
    monkeypatch.setattr(time, "sleep", None)
    for host in ("127.0.0.1", "::1", "0.0.0.0", "::"):
        with listening(host, 20123):
            anyport.wait(20123)
            anyport.wait("20123", timeout=0)
            anyport.wait([20123], timeout="10m", until="listening", tcp=True)
    anyport.wait(20123, until="unused")
    anyport.wait("20123-20130", until="unused", udp=True, tcp=True)


def test_a_server_that_starts_later(at_pause: Looking) -> None:
    """A real program: bound is not enough, it has to listen."""
    with ExitStack() as stack:
        at_pause(2, lambda: stack.enter_context(bound("127.0.0.1", 20124)))
        at_pause(4, lambda: stack.enter_context(child("20123")))
        anyport.wait(20123, timeout=60)
        with pytest.raises(OSError, match="in use"):
            listening("127.0.0.1", 20123)
        stack.enter_context(bound("127.0.0.1", 20125))
        assert "20125/tcp is in use" in str(timed_out(20125))


def test_all_of_several_ports(at_pause: Looking) -> None:
    """The last one counts; a range is all of its numbers."""
    with ExitStack() as stack:

        def serve(port: int) -> None:
            stack.enter_context(listening("127.0.0.1", port))

        for number, port in enumerate((20124, 20123, 20125), 1):
            at_pause(number, partial(serve, port))
        anyport.wait(["20123-20124", 20125], timeout=60)
        anyport.wait("20123-20125", timeout=0)
        missing = str(timed_out("20122-20125"))
        assert missing == "timed out after 0 s, and no socket listens: 20122/tcp is unused"


def test_udp(at_pause: Looking) -> None:
    """A bound socket without a peer; with --tcp as well both are waited for."""
    with ExitStack() as stack:
        at_pause(1, lambda: stack.enter_context(bound("127.0.0.1", 20123, socket.SOCK_DGRAM)))
        anyport.wait(20123, udp=True, timeout=60)
        both = timed_out(20123, udp=True, tcp=True)
        assert str(both) == "timed out after 0 s, and no socket listens: 20123/tcp is unused"
        client = stack.enter_context(bound("127.0.0.1", 20124, socket.SOCK_DGRAM))
        client.connect(("127.0.0.1", 20123))
        assert "(ESTABLISHED)" in str(timed_out(20124, udp=True))
        assert "20123/udp is in use" in str(timed_out(20123, udp=True, until="unused"))


def test_time_out_says_what_stands_in_the_way() -> None:
    """The verdict of `who` on each port that is missing, five at most; with the sockets."""
    with bound("127.0.0.1", 20123) as sock:
        error = timed_out(20123, timeout=0.01)
        whose = rf"\(pid {os.getpid()}, {USER}\) is bound to 127\.0\.0\.1 and does not listen"
        assert re.fullmatch(
            rf"timed out after 0\.01 s, and no socket listens: 20123/tcp is in use: \S+ {whose}", str(error)
        )
        assert [each.inode for each in error.occupants] == [os.fstat(sock.fileno()).st_ino]
        assert [each.pid for each in error.occupants[0].processes] == [os.getpid()]
        assert error.hint
        assert re.match(r"timed out after 0 s: 20123/tcp is in use: ", str(timed_out(20123, until="unused")))
    assert str(timed_out("20123-20132")).endswith("20127/tcp is unused; and 5 more")


def test_until_the_server_has_ended(at_pause: Looking) -> None:
    """Neither listening, nor bound only, nor a connection may be left."""
    with child("20123") as server, bound("127.0.0.1", 20124) as held:
        at_pause(2, lambda: server.communicate("end\n"))
        at_pause(4, held.close)
        anyport.wait([20123, 20124], until="unused", timeout=60)
        listening("127.0.0.1", 20123).close()
    with listening("127.0.0.1", 20124) as other, bound("127.0.0.1", 20123) as client:
        client.connect(other.getsockname())
        other.accept()[0].close()
        assert "(CLOSE_WAIT)" in str(timed_out(20123, until="unused"))


def test_time_wait_is_not_waited_for() -> None:
    """Unless it is strict: then it is named, with the way out."""
    leave_time_wait(20123)
    anyport.wait(20123, until="unused", timeout=0)
    error = timed_out(20123, until="unused", strict=True)
    assert "20123/tcp is in use: TIME_WAIT for " in str(error)
    assert error.hint == "without --strict what is left over from connections does not count"
    assert [each.state for each in error.occupants] == ["TIME_WAIT"]
    assert "TIME_WAIT" in str(timed_out(20123))


def test_only_a_tree_counts(at_pause: Looking) -> None:
    """The process itself or what it started, down to a grandchild; a stranger's server does not."""
    with child("20123") as stranger, child("20124") as own, child("20125", "grandchild") as elder:
        anyport.wait(20123, tree=stranger.pid, timeout=0)
        anyport.wait([20123, 20124, 20125], tree=os.getpid(), timeout=0)
        anyport.wait(20125, tree=elder.pid, timeout=0)
        error = timed_out(20123, tree=own.pid)
        assert f"and no socket that process {own.pid} or its descendants have listens" in str(error)
        assert f"(pid {stranger.pid}, {USER}) listens on 127.0.0.1" in str(error)
        assert error.hint == "another process has it"
        assert "20123/tcp" in str(timed_out(20123, 20124, tree=own.pid))
        (grandchild,) = proc.descendants(elder.pid)
        anyport.wait(20125, tree=grandchild, timeout=0)
        at_pause(2, lambda: own.communicate("end\n"))
        anyport.wait([20123, 20124], until="unused", tree=own.pid, timeout=60)
        elder.communicate("end\n")
        stranger.communicate("end\n")


def test_a_tree_that_has_ended_is_told_at_once(at_pause: Looking) -> None:
    """Not after the time-out: it will never listen."""
    with child("20123") as server:
        at_pause(3, lambda: server.communicate("end\n"))
        error = timed_out(20124, tree=server.pid, timeout=None)  # type: ignore[arg-type]
    assert str(error) == (
        f"process {server.pid} has ended, and no socket that process {server.pid} or its descendants have listens: "
        "20124/tcp is unused"
    )


def test_a_tree_that_had_ended_before() -> None:
    """The same, whether somebody has asked for its exit status or not; what is unused is so all the same."""
    with subprocess.Popen(["true"]) as gone:
        os.waitid(os.P_PID, gone.pid, os.WEXITED | os.WNOWAIT)
        for _ in range(2):
            error = timed_out(20123, tree=gone.pid, timeout=60)
            assert str(error).startswith(f"process {gone.pid} has ended, and no socket that process {gone.pid} or")
            anyport.wait(20123, until="unused", tree=gone.pid)
            gone.wait()


@pytest.mark.parametrize(
    "words",
    [
        {"port": []}, {"port": "abc"}, {"port": 0}, {"port": 70000}, {"port": "9-8"}, {"port": None},
        {"until": "foo"}, {"until": ""}, {"timeout": "x"}, {"timeout": -1}, {"timeout": float("nan")},
        {"timeout": 10**400},
        {"tree": 0}, {"tree": -1}, {"tree": os.getpid(), "strict": True},
    ],
)  # fmt: skip
def test_a_question_that_can_not_be_asked(words: dict[str, object]) -> None:
    """InvalidSelection with a hint or a reason; no descriptor stays open."""
    before = os.listdir("/proc/self/fd")
    with pytest.raises(anyport.InvalidSelection):
        anyport.wait(**{"port": 20123, **words})  # type: ignore[arg-type]
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("port", [[], range(5, 5), None])
def test_no_port_is_nothing_to_wait_for(port: "list[int] | range | None") -> None:
    """The hint is one that helps here: None, which is every port for `who`, does not."""
    with pytest.raises(anyport.InvalidSelection, match=r"^no port ") as error:
        anyport.wait(port)  # type: ignore[arg-type]
    assert error.value.hint == "anyport wait 8080"


def test_it_never_connects() -> None:
    """Nobody is there to be accepted, and no datagram to be read."""
    with listening("127.0.0.1", 20123) as server, bound("127.0.0.1", 20123, socket.SOCK_DGRAM) as datagrams:
        for _ in range(20):
            anyport.wait(20123, tcp=True, udp=True, timeout=0)
        for sock in (server, datagrams):
            sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()
        with pytest.raises(BlockingIOError):
            datagrams.recv(1)


def test_it_binds_nothing() -> None:
    """A server that starts while the port is waited for finds it unused at every moment."""
    code = program("waits_without_bind.py")
    done = python_as(NOBODY, code)
    assert (done.returncode, done.stderr) == (0, "")


def test_it_binds_nothing_to_say_what_stands_in_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though `who` finds out by a bind who could get past what is left over."""
    leave_time_wait(20123)
    for module in ("look", "who"):
        monkeypatch.setattr(f"anyport._who.{module}.errno_of_bind", None)
    assert "TIME_WAIT" in str(timed_out(20123, until="unused", strict=True))


def test_another_users_server_counts() -> None:
    """Its socket is seen, and that is enough; of a tree it is not, and that is said at once."""
    code = f"""
anyport.wait(20123, timeout=0)
try:
    anyport.wait(20123, tree={os.getpid()})
except anyport.AnyportError as error:
    print(error)
"""
    with listening("127.0.0.1", 20123):
        done = python_as(free_uid("waits"), code)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"the sockets of process {os.getpid()} can't be seen\n"


def test_a_descendant_that_can_not_be_looked_into() -> None:
    """Its port is not called unused, nor another's; a port whose processes can be seen is, and what has ended is."""
    code = program("hidden_descendant.py")
    with listening("127.0.0.1", 20124):
        done = python_as(NOBODY, code)
    assert (done.returncode, done.stderr) == (0, "")
    hint, error = done.stdout.splitlines()
    assert re.fullmatch(r"process \d+ may have it, and can't be looked into: root sees more", hint)
    assert re.fullmatch(r"AnyportError: the sockets of process \d+ can't be seen: .*", error)


def test_what_stands_in_the_way_is_of_that_protocol() -> None:
    """The tree's TCP server is not in the way of its UDP one, and no other process has anything."""
    with listening("127.0.0.1", 20123):
        error = timed_out(20123, tree=os.getpid(), tcp=True, udp=True)
    assert "listens: 20123/udp is unused" in str(error)
    assert (error.hint, error.occupants) == ("a longer --timeout waits longer", [])
