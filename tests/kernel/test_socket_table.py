"""Every kind of socket as the table has it, from each of the sources that it can be had from."""

import contextlib
import errno
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import pytest

from anyport._clock import pauses
from anyport._linux import netlink, sock_diag
from anyport._linux.proc import socket_inodes
from anyport._linux.row import Row
from anyport._who import table
from anyport.errors import Unsupported
from helpers.support import bound, listening, needs_root, private_network

TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM
V4, V6 = "127.0.0.1", "::1"


def seen(protocol: str, port: int, states: int = table.ALL) -> list[tuple[str, str, str | None, int | None]]:
    """Address, state and peer of each socket with this port."""
    rows = table.rows(protocol, [range(port, port + 1)], states)
    assert all(row.protocol == protocol and row.port == port for row in rows)
    return sorted((row.address, row.state, row.remote_address, row.remote_port) for row in rows)


def row_of(sock: socket.socket, protocol: str = "tcp") -> Row:
    """The one row of a socket of ours."""
    inode = os.fstat(sock.fileno()).st_ino
    (row,) = [each for each in table.rows(protocol) if each.inode == inode]
    return row


@contextlib.contextmanager
def connected(port: int, host: str = V4) -> Iterator[tuple[socket.socket, socket.socket, socket.socket]]:
    """A server on this port, its side of a connection, and the client."""
    with ExitStack() as stack:
        server = stack.enter_context(listening(host, port, reuse=True))
        client = stack.enter_context(socket.create_connection((host, port)))
        yield server, stack.enter_context(server.accept()[0]), client


def time_wait(port: int) -> None:
    """The server's side closes first: what is left of the connection keeps its port."""
    with connected(port) as (_, accepted, client):
        accepted.close()
        assert client.recv(1) == b""


@pytest.mark.parametrize("make", [listening, bound])
@pytest.mark.parametrize("host", ["0.0.0.0", V4, "127.0.0.2", "::", V6])
def test_servers_and_what_is_bound_only(make: Callable[[str, int], socket.socket], host: str) -> None:
    """State, address and port, uid and inode; no peer."""
    with make(host, 20123) as sock:
        state = "LISTEN" if make is listening else "BOUND"
        assert seen("tcp", 20123) == seen("tcp", 20123, table.WITHOUT_PEER) == [(host, state, None, None)]
        row = row_of(sock)
        assert (row.uid, row.interface, row.seconds_left, row.v6only) == (os.geteuid(), 0, None, host == V6)
        assert seen("udp", 20123) == []
        assert bool(seen("tcp", 20123, table.LISTENING)) is (make is listening)


@pytest.mark.parametrize("kind", [TCP, UDP])
@pytest.mark.parametrize("v6only", [False, True])
def test_v6only_is_told(kind: int, v6only: bool) -> None:
    """Of TCP and UDP; on an address that is IPv6's alone the kernel sets it by itself."""
    protocol = "tcp" if kind == TCP else "udp"
    for host, told in (("::", v6only), (V6, True)):
        with bound(host, 20123, kind, v6only=v6only) as sock:
            assert row_of(sock, protocol).v6only is told
    with listening("::", 20123, v6only=v6only) as sock:
        assert row_of(sock).v6only is v6only


@pytest.mark.parametrize("host", [V4, V6])
def test_udp_has_two_states(host: str) -> None:
    """Bound, or connected, which is no server then; only the first is without a peer."""
    with bound(host, 20123, UDP) as sock, bound(host, 20124, UDP) as client:
        client.connect((host, 20123))
        assert seen("udp", 20123) == [(host, "BOUND", None, None)]
        assert seen("udp", 20124) == [(host, "ESTABLISHED", host, 20123)]
        assert seen("udp", 20124, table.WITHOUT_PEER) == []
        assert row_of(sock, "udp").inode


@pytest.mark.parametrize("host", [V4, V6])
def test_connections_have_a_peer(host: str) -> None:
    """Both ends of one."""
    with connected(20123, host) as (_, accepted, client):
        near, far = client.getsockname()[1], accepted.getpeername()[1]
        assert seen("tcp", 20123) == sorted([(host, "LISTEN", None, None), (host, "ESTABLISHED", host, near)])
        assert seen("tcp", far) == [(host, "ESTABLISHED", host, 20123)]
        assert seen("tcp", 20123, table.WITHOUT_PEER) == [(host, "LISTEN", None, None)]


def test_a_connection_over_the_dual_stack_is_told_as_mapped() -> None:
    """As the socket has it: an address of IPv6."""
    with listening("::", 20123), socket.create_connection((V4, 20123)) as client:
        port = client.getsockname()[1]
        assert (f"::ffff:{V4}", "ESTABLISHED", f"::ffff:{V4}", port) in seen("tcp", 20123)


def test_time_wait_has_seconds_and_no_process() -> None:
    """A minute at most, and neither inode nor user."""
    time_wait(20123)
    (row,) = table.rows("tcp", [range(20123, 20124)])
    assert (row.state, row.inode, row.uid, row.address, row.remote_address) == ("TIME_WAIT", 0, None, V4, V4)
    assert row.seconds_left is not None
    assert 50 < row.seconds_left <= 60


def test_a_connection_that_is_not_accepted_yet_has_no_process() -> None:
    """Established, says the kernel, and the inode is 0."""
    with listening(V4, 20123), socket.create_connection((V4, 20123)):
        (row,) = [each for each in table.rows("tcp", [range(20123, 20124)]) if each.state != "LISTEN"]
        assert (row.state, row.inode) == ("ESTABLISHED", 0)


def test_an_orphan_has_no_process() -> None:
    """FIN_WAIT2: this side has closed, the other one has not."""
    with connected(20123) as (_, accepted, _client):
        accepted.close()
        for _ in pauses(60):
            rows = [each for each in table.rows("tcp", [range(20123, 20124)]) if each.state != "LISTEN"]
            if [row.state for row in rows] == ["FIN_WAIT2"]:
                break
        assert [(row.state, row.inode) for row in rows] == [("FIN_WAIT2", 0)]


def test_the_interface_is_told() -> None:
    """SO_BINDTODEVICE, by its index."""
    needs_root()
    for kind, protocol in ((TCP, "tcp"), (UDP, "udp")):
        with socket.socket(socket.AF_INET, kind) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
            sock.bind((V4, 20123))
            assert row_of(sock, protocol).interface == socket.if_nametoindex("lo")


def test_siblings_are_rows_of_their_own() -> None:
    """SO_REUSEPORT: the same address and port, and an inode each."""
    with ExitStack() as stack:
        for _ in range(3):
            sock = stack.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind((V4, 20123))
            sock.listen()
        rows = table.rows("tcp", [range(20123, 20124)])
        assert len({row.inode for row in rows}) == len(rows) == 3
        assert {row.inode for row in rows} <= socket_inodes(os.getpid())


def found_in(protocol: str, ranges: Sequence[range]) -> list[tuple[str, int, str]]:
    return sorted((row.address, row.port, row.state) for row in table.rows(protocol, ranges))


@pytest.mark.parametrize("count", [1, 2, 10, 64, 65, 100])
def test_as_many_ranges_as_are_asked_for(count: int) -> None:
    """More than the filter takes too: just those rows."""
    taken = list(range(20000, 20000 + 6 * count, 3))
    with ExitStack() as stack:
        for port in taken:
            stack.enter_context(bound(V4, port, UDP))
            stack.enter_context(listening(V4, port))
        ranges = [range(start, start + 4) for start in range(20000, 20000 + 12 * count, 12)]
        expected = [port for port in taken if any(port in part for part in ranges)]
        assert 0 < len(expected) < len(taken) or count == 1
        assert found_in("tcp", ranges) == [(V4, port, "LISTEN") for port in expected]
        assert found_in("udp", ranges) == [(V4, port, "BOUND") for port in expected]
        assert found_in("tcp", [range(port, port + 1) for port in expected[:count]]) == [
            (V4, port, "LISTEN") for port in expected[:count]
        ]
        assert found_in("tcp", [range(1, 65536)]) == [(V4, port, "LISTEN") for port in taken]


def test_more_ranges_than_an_attribute_can_hold() -> None:
    """Every other number: the table is read whole."""
    ranges = [range(port, port + 1) for port in range(1, 65536, 2)]
    with listening(V4, 20123), listening(V4, 20124), bound(V4, 20125, UDP):
        assert found_in("tcp", ranges) == [(V4, 20123, "LISTEN")]
        assert found_in("udp", ranges) == [(V4, 20125, "BOUND")]


def test_no_range_means_every_port() -> None:
    """In both protocols."""
    with private_network(), bound(V4, 1234), bound(V6, 1235, UDP):
        assert [row.port for row in table.rows("tcp")] == [1234]
        assert [row.port for row in table.rows("udp")] == [1235]


@pytest.fixture
def sockets() -> Iterator[None]:
    """Some of every kind."""
    with ExitStack() as stack:
        for host in (V4, V6, "0.0.0.0"):
            stack.enter_context(bound(host, 20130 if host == "0.0.0.0" else 20131))
            stack.enter_context(listening(host, 20140 if host == "0.0.0.0" else 20141))
            stack.enter_context(bound(host, 20150 if host == "0.0.0.0" else 20151, UDP))
        stack.enter_context(connected(20160))
        time_wait(20161)
        yield


def plain(rows: list[Row]) -> list[tuple[Any, ...]]:
    """The fields that every source has, in order; the time that is left goes on."""
    return sorted(((*row[:8], row.seconds_left is None) for row in rows), key=repr)


RANGES: list[list[range]] = [[], [range(20123, 20200)], [range(20131, 20132), range(20160, 20162)]]


@pytest.mark.usefixtures("sockets")
@pytest.mark.parametrize("ranges", RANGES)
def test_without_the_old_request_the_rows_are_the_same(ranges: list[range], monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that refuses request 18 is asked for each family."""
    expected, kinds, dump = table.rows("tcp", ranges), [], netlink.dump

    def without(protocol: int, kind: int, payload: bytes, read: "netlink.Read[Row]") -> list[Row]:
        kinds.append(kind)
        if kind == sock_diag.TCPDIAG_GETSOCK:
            raise netlink.NetlinkError(errno.EINVAL, "unknown")
        return dump(protocol, kind, payload, read)

    monkeypatch.setattr(netlink, "dump", without)
    assert plain(table.rows("tcp", ranges)) == plain(expected)
    assert kinds == [18, 20, 20] if ranges else [20, 20]


def refuse(*_: object) -> list[Row]:
    raise PermissionError(errno.EPERM, "Operation not permitted")


@pytest.mark.usefixtures("sockets")
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize("ranges", RANGES)
def test_without_netlink_the_rows_are_those_of_proc(
    ranges: list[range], protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but the bound-only sockets of TCP."""
    expected = [row for row in table.rows(protocol, ranges) if protocol == "udp" or row.state != "BOUND"]
    assert expected or protocol == "udp"
    monkeypatch.setattr(netlink, "dump", refuse)
    assert plain(table.rows(protocol, ranges)) == plain(expected)
    without_peer = [row for row in expected if row.state in ("LISTEN", "BOUND")]
    assert plain(table.rows(protocol, ranges, table.WITHOUT_PEER)) == plain(without_peer)


def test_a_protocol_that_the_kernel_has_no_module_for_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Number 200 stands for UDP without udp_diag: no empty table, in which every port is unused, but that of /proc."""
    with bound(V4, 20123, UDP):
        monkeypatch.setattr("anyport._linux.sock_diag._socket.IPPROTO_UDP", 200)
        with pytest.raises(netlink.NetlinkError) as error:
            sock_diag.sockets("udp")
        assert error.value.errno == errno.ENOENT
        assert seen("udp", 20123) == [(V4, "BOUND", None, None)]


def test_without_both_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unsupported, with both reasons."""
    monkeypatch.setattr(netlink, "dump", refuse)
    monkeypatch.setattr("anyport._linux.proc_net.sockets", refuse)
    with pytest.raises(Unsupported, match=r"sock_diag: Operation not permitted; /proc/net: Operation") as error:
        table.rows("tcp")
    assert (error.value.errno, bool(error.value.hint)) == (errno.EPERM, True)


def test_whether_bound_only_sockets_are_shown_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """By sock_diag of this kernel they are, by /proc they are not; nothing stays bound."""
    with private_network():
        assert table.shows_bound_only()
        assert table.rows("tcp") == []
        monkeypatch.setattr(netlink, "dump", refuse)
        assert not table.shows_bound_only()


def test_where_no_port_is_left_to_try_it_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ephemeral range is exhausted, when people ask what has all the ports: the kernel's version decides."""
    needs_root()
    with private_network((40000, 40003)), ExitStack() as stack:
        for port in range(40000, 40004):
            stack.enter_context(bound("0.0.0.0", port))
        assert table.shows_bound_only()
        monkeypatch.setattr(netlink, "dump", refuse)
        assert not table.shows_bound_only()
