"""What the kernel tells of closed sockets, and the filter in front of it."""

import socket
from contextlib import closing

import pytest

from anyport._linux import bpf
from anyport._linux.closings import Closings
from anyport._linux.socket import LOOPBACK
from anyport._who import look
from helpers.support import bound, listening, needs_root


def refused_bind(port: int, kind: int = socket.SOCK_STREAM, family: int = socket.AF_INET) -> None:
    with socket.socket(family, kind) as sock, pytest.raises(OSError, match="in use"):
        sock.bind(("", port))


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_refused_bind_leaves_a_trace(family: int) -> None:
    """And nothing else does: neither a server, nor a client, nor a socket of the other protocol."""
    needs_root()  # a network namespace of its own: others close sockets too
    with bound("::", 20123), bound("::", 20123, socket.SOCK_DGRAM), closing(Closings("tcp")) as closings:
        with listening("127.0.0.1", 20124) as server, socket.create_connection(("127.0.0.1", 20124)):
            server.accept()[0].close()
        refused_bind(20123, socket.SOCK_DGRAM)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", 9))
        assert closings.read_all(5) == []
        refused_bind(20123, family=family)
        rows = closings.read_all(5)
        assert [(row.port, row.remote_port, row.interface) for row in rows] == [(0, None, 0)]
        assert closings.read() == []


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_the_trial_of_who_leaves_a_marked_one(family: int) -> None:
    """When its bind is refused, by the interface: else `anyport run` would take it for one of its program's."""
    needs_root()
    with bound("::", 20123), closing(Closings("tcp")) as closings:
        with pytest.raises(OSError, match="in use"):
            look._bind_once(family, socket.SOCK_STREAM, 20123, reuse=False)
        assert [row.interface for row in closings.read_all(5)] == [LOOPBACK]


def test_a_flood_of_other_sockets_does_not_hide_it() -> None:
    """They are dropped before they take place in the queue."""
    needs_root()
    with bound("::", 20123), closing(Closings("tcp")) as closings:
        refused_bind(20123)
        for _ in range(5000):
            bound("127.0.0.1", 0).close()
        assert len(closings.read_all(5)) == 1


def test_udp_has_groups_of_its_own() -> None:
    """For a program that was to have a UDP port."""
    with bound("::", 20125, socket.SOCK_DGRAM), closing(Closings("udp")) as closings:
        refused_bind(20125, socket.SOCK_DGRAM)
        assert (0, None, 0) in [(row.port, row.remote_port, row.interface) for row in closings.read_all(5)]


def test_the_filter_is_a_row_of_loads_and_jumps() -> None:
    """Each jump that fails goes to the last instruction, which drops (linux/filter.h)."""
    assert bpf.all_zero((20, 22)) == [
        (0x28, 0, 0, 20), (0x15, 0, 3, 0), (0x28, 0, 0, 22), (0x15, 0, 1, 0), (0x06, 0, 0, 0xFFFFFFFF), (0x06, 0, 0, 0),
    ]  # fmt: skip
