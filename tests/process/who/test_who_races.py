"""`anyport.who` and `anyport.wait` when something changes while they look, and what the table's failures come to."""

import gc
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from errno import EADDRINUSE, ENOBUFS

import pytest

import anyport
from anyport._linux import netlink, proc, proc_net, sysctl
from anyport._ports import parse_ports
from anyport._who import look, occupants
from helpers.support import bound, listening, needs_root, private_network, program, python

ONE = parse_ports("20123")


def test_what_is_closed_before_its_process_is_looked_up_is_looked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is gone then; without the second look it were a socket whose process can't be seen."""
    server, owners = listening("127.0.0.1", 20123), proc.socket_owners

    def close_first(inodes: set[int]) -> dict[int, list[tuple[int, str]]]:
        server.close()
        return owners(inodes)

    monkeypatch.setattr("anyport._who.occupants.socket_owners", close_first)
    assert anyport.who(20123) == []


class Binds:
    """Stands for the trial: binds fail so often as in use, and it is told with which option; then something happens."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, failures: int) -> None:
        self.reuse: list[bool] = []
        self._failures = failures
        monkeypatch.setattr(look, "_PATIENCE", 60)  # so that none of them comes too late on a busy machine
        monkeypatch.setattr(look, "errno_of_bind", self)

    def __call__(self, _number: tuple[str, int], *, reuse: bool) -> int:
        self.reuse.append(reuse)
        return EADDRINUSE if len(self.reuse) <= self._failures else 0


def test_a_bind_that_is_refused_once_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever had the port for a moment, as we have it, is gone when it is tried again."""
    binds = Binds(monkeypatch, failures=2)
    assert anyport.who(20123, tcp=True) == []
    assert binds.reuse == [True] * 3  # by which a server that sets it too is not kept out meanwhile


def test_who_comes_between_the_look_and_the_bind_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bind that he refused is told as that, and he is the occupant."""
    with ExitStack() as stack:

        def come_in(*_: object, **__: object) -> int:
            stack.enter_context(listening("127.0.0.1", 20123))
            return EADDRINUSE

        monkeypatch.setattr(look, "errno_of_bind", come_in)
        seen = look.look(ONE, ["tcp"])
    assert [each.state for each in seen.occupants] == ["LISTEN"]
    assert seen.binds == {("tcp", 20123): EADDRINUSE}


@pytest.mark.parametrize("family", [socket.AF_INET6, None])
def test_a_trial_bind_without_ipv6(family: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """There IPv4 decides; any other refusal of IPv6 is the answer, though IPv4 alone would be let in."""
    bind = look._bind_once

    def without(of: int, *words: int, reuse: bool) -> int:
        if of == family:
            raise OSError(97, "Address family not supported by protocol")
        return bind(of, *words, reuse=reuse)

    monkeypatch.setattr(look, "_bind_once", without)
    with bound("::1", 20123):
        assert look.errno_of_bind(("tcp", 20123), reuse=False) == (0 if family else EADDRINUSE)
    with bound("127.0.0.1", 20123):
        assert look.errno_of_bind(("tcp", 20123), reuse=False) == EADDRINUSE


# Its child listens, and leaves a grandchild that has the socket and is nobody's descendant any more.
HANDS_DOWN = program("hands_down.py")


def test_a_socket_that_the_tree_has_had_counts_when_an_orphan_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process lives on without it, and its port is not unused: what it left behind has it."""
    words, sleep = [sys.executable, "-c", HANDS_DOWN], time.sleep
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin
        assert server.stdout
        say, hear = server.stdin, server.stdout
        assert hear.readline() == "ready\n"

        def orphan(_seconds: float) -> None:
            monkeypatch.setattr(time, "sleep", sleep)
            say.write("go\n")
            say.flush()
            assert hear.readline() == "ready\n"

        monkeypatch.setattr(time, "sleep", orphan)
        with pytest.raises(anyport.TimedOut, match="20123/tcp is in use: python"):
            anyport.wait(20123, until="unused", tree=server.pid, timeout=0.2)
        server.kill()


def test_no_descriptor_stays_open() -> None:
    """Of a tree, whether it came to that or not."""
    before = os.listdir("/proc/self/fd")
    with listening("127.0.0.1", 20123):
        anyport.wait(20123, tree=os.getpid())
    with pytest.raises(anyport.TimedOut):
        anyport.wait(20123, tree=os.getpid(), timeout=0)
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize(
    "error", [netlink.Interrupted("again and again"), netlink.Interrupted(ENOBUFS, "lost"), TimeoutError("timed out")]
)
def test_a_table_that_fails_is_an_error(error: OSError, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be had the next time, so neither another request nor /proc/net, which shows less, stands for it."""
    requests: list[int] = []

    def fail(_protocol: int, kind: int, *_: object) -> None:
        requests.append(kind)
        raise error

    monkeypatch.setattr(netlink, "dump", fail)
    with pytest.raises(anyport.Unsupported, match="the socket table can't be read"):
        anyport.who(20123)
    assert len(requests) == 1


def test_no_descriptor_for_the_table() -> None:
    """ResourceLimit, which names the limit; nothing is called unused."""
    code = program("no_descriptor.py")
    done = python(code)
    assert done.stderr == ""
    said = "the socket table can't be read: Too many open files (errno 24) | the limit RLIMIT_NOFILE is 20: "
    assert [line.startswith(said) for line in done.stdout.splitlines()] == [True, True]


def test_without_netlink_a_thread_sees_its_own_network() -> None:
    """Which may be another one than that of the process, whose /proc/net it is."""
    needs_root()
    found: list[int] = []

    def look_elsewhere() -> None:
        with private_network(), listening("127.0.0.1", 20124):
            found.extend(row.port for row in proc_net.sockets("tcp"))

    with listening("127.0.0.1", 20123):
        thread = threading.Thread(target=look_elsewhere)
        thread.start()
        thread.join()
    assert found == [20124]


def test_without_netlink_and_ipv6_there_is_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a kernel has no tcp6 in /proc/net."""
    read = sysctl.read_whole

    def without(path: str) -> bytes:
        if path.endswith("6"):
            raise FileNotFoundError(path)
        return read(path)

    monkeypatch.setattr(proc_net, "read_whole", without)
    with listening("127.0.0.1", 20123):
        assert [row.port for row in proc_net.sockets("tcp")] == [20123]


def test_an_interface_that_is_gone_has_its_number() -> None:
    """The socket is told all the same."""
    assert occupants._Interfaces()[1] == "lo"
    assert occupants._Interfaces()[4711] == "interface 4711"
    assert occupants._Interfaces()[0] is None


@pytest.mark.parametrize("is_on", [True, False])
def test_the_garbage_collection_is_left_as_it_was(is_on: bool) -> None:
    """It rests while a long table is read."""
    gc.enable() if is_on else gc.disable()
    try:
        anyport.who()
        assert gc.isenabled() is is_on
    finally:
        gc.enable()
