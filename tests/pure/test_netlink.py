"""What the kernel answers, and what garbage does to its readers."""

import errno
import socket
import struct
from itertools import repeat
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anyport._linux import netlink, sock_diag

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HEADER = struct.Struct("=IHHII")


def message(kind: int, payload: bytes, flags: int = 0, length: int | None = None) -> bytes:
    size = HEADER.size + len(payload) if length is None else length
    return (HEADER.pack(size, kind, flags, 1, 0) + payload).ljust((size + 3) & ~3, b"\0")


@given(st.lists(st.tuples(st.integers(16, 60000), st.binary(max_size=40)), min_size=1, max_size=5))
def test_messages_come_back(parts: list[tuple[int, bytes]]) -> None:
    """What was put together is cut apart again."""
    datagram = b"".join(message(kind, payload) for kind, payload in parts)
    assert list(netlink.messages(datagram)) == parts


@given(st.binary(max_size=200))
def test_garbage_gives_the_documented_error_only(datagram: bytes) -> None:
    """NetlinkError, which is an OSError."""
    try:
        list(netlink.messages(datagram))
    except netlink.NetlinkError:
        pass


@given(st.binary(max_size=100), st.sampled_from(["tcp", "udp"]))
def test_a_row_is_read_or_refused(answer: bytes, protocol: str) -> None:
    """Too short, or of a family that is not IP: NetlinkError."""
    try:
        row = sock_diag.parse(answer, protocol)
    except netlink.NetlinkError:
        return
    assert 0 <= row.port <= 65535


def test_a_refusal_carries_the_kernels_errno() -> None:
    """NLMSG_ERROR is a negative errno."""
    with pytest.raises(netlink.NetlinkError) as error:
        list(netlink.messages(message(netlink.NLMSG_ERROR, struct.pack("=i", -13) + bytes(16))))
    assert error.value.errno == 13


@pytest.mark.parametrize("length", [0, 15, 17, 2**32 - 1])
def test_wrong_lengths_are_refused(length: int) -> None:
    """Shorter than a header, or longer than what is there."""
    with pytest.raises(netlink.NetlinkError):
        list(netlink.messages(HEADER.pack(length, 20, 0, 1, 0)))


@given(st.lists(st.integers(0, 65535), min_size=1, max_size=50), st.integers(72, 90))
def test_columns_are_what_the_rows_say(ports: list[int], length: int) -> None:
    """Cut out of uniform messages at once, or read row by row: the same ports."""
    rows = [(b"\x02\x0a\0\0" + port.to_bytes(2, "big")).ljust(length, b"\0") for port in ports]
    datagram = b"".join(message(20, row) for row in rows)
    assert bool(netlink.uniform(datagram)) is (length % 4 == 0)
    assert list(sock_diag.ports_in(datagram, netlink.uniform(datagram))) == ports
    assert list(sock_diag.ports_in(datagram + DONE, 0)) == ports


@given(st.binary(max_size=300))
def test_garbage_has_no_ports_or_the_documented_error(datagram: bytes) -> None:
    """Numbers of 16 bits, or NetlinkError."""
    try:
        assert all(0 <= port <= 65535 for port in sock_diag.ports_in(datagram, netlink.uniform(datagram)))
    except netlink.NetlinkError:
        pass


class Kernel:
    """Stands for the netlink socket: answers each request with the next datagrams, or errors."""

    def __init__(self, *answers: "Iterable[bytes | OSError]") -> None:
        self.answers = list(answers)
        self.datagrams: Iterator[bytes | OSError] = iter(())
        self.requests = self.opened = self.closed = self.received = 0

    def socket(self, *_args: int) -> "Kernel":
        self.opened += 1
        return self

    def settimeout(self, seconds: float) -> None:
        assert 0 < seconds < 60

    def send(self, _request: bytes) -> None:
        self.requests += 1
        self.datagrams = iter(self.answers.pop(0) if self.answers else ())

    def recv(self, _size: int) -> bytes:
        self.received += 1
        assert self.received < 1000, "it reads on and on"
        datagram = next(self.datagrams, TimeoutError("timed out"))
        if isinstance(datagram, OSError):
            raise datagram
        return datagram

    def recv_into(self, buffer: bytearray) -> int:
        datagram = self.recv(len(buffer))
        buffer[: len(datagram)] = datagram
        return len(datagram)

    def close(self) -> None:
        self.closed += 1


DONE = message(netlink.NLMSG_DONE, bytes(4))
INTERRUPTED = message(20, b"half", netlink.NLM_F_DUMP_INTR)


def test_an_interrupted_dump_is_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table changed while it was read: rows may be missing."""
    kernel = Kernel([INTERRUPTED], [message(20, b"whole"), DONE])
    monkeypatch.setattr("anyport._linux.netlink._socket.socket", kernel.socket)
    assert netlink.dump(4, 20, b"", netlink.rows) == [b"whole"]
    assert kernel.requests == kernel.closed == 2


def test_a_dump_that_is_always_interrupted_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """After five tries, and no socket is left open."""
    kernel = Kernel(*([INTERRUPTED] for _ in range(5)))
    monkeypatch.setattr("anyport._linux.netlink._socket.socket", kernel.socket)
    with pytest.raises(netlink.Interrupted):
        netlink.dump(4, 20, b"", netlink.rows)
    assert kernel.requests == kernel.closed == 5


@pytest.mark.parametrize("at", range(5))
def test_one_mark_of_interruption_is_enough(at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """At any message of any datagram, that of the end as well."""
    parts = [message(20, b"abc", netlink.NLM_F_DUMP_INTR * (at == index)) for index in range(4)]
    marked = message(netlink.NLMSG_DONE, bytes(4), netlink.NLM_F_DUMP_INTR * (at == 4))
    kernel = Kernel([parts[0] + parts[1], parts[2] + parts[3] + marked], [message(20, b"whole") + DONE])
    monkeypatch.setattr("anyport._linux.netlink._socket.socket", kernel.socket)
    assert netlink.dump(4, 20, b"", netlink.rows) == [b"whole"]
    assert kernel.requests == kernel.closed == 2


@pytest.mark.parametrize("number", [errno.ENOBUFS, errno.EPERM, errno.EINTR, errno.ETIMEDOUT])
def test_an_error_of_the_socket_ends_the_dump(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENOBUFS (the kernel had more than fits), a time-out: the error itself, not half a table."""
    kernel = Kernel([message(20, b"half"), OSError(number, "no")])
    monkeypatch.setattr("anyport._linux.netlink._socket.socket", kernel.socket)
    with pytest.raises(OSError, match="no") as error:
        netlink.dump(4, 20, b"", netlink.rows)
    assert error.value.errno == number
    assert kernel.requests == kernel.closed == 1


def test_an_answer_without_end_is_a_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message that says done is missing: half a table is no answer."""
    kernel = Kernel([message(20, b"half")])
    monkeypatch.setattr("anyport._linux.netlink._socket.socket", kernel.socket)
    with pytest.raises(TimeoutError):
        netlink.dump(4, 20, b"", netlink.rows)
    assert kernel.closed == 1


def test_empty_datagrams_are_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as come: an error, and no endless loop."""
    kernel = Kernel(repeat(b""), [b""])
    monkeypatch.setattr("anyport._linux.netlink._socket.socket", kernel.socket)
    with pytest.raises(netlink.NetlinkError):
        netlink.dump(4, 20, b"", netlink.rows)
    with pytest.raises(netlink.NetlinkError):
        netlink.ask(4, 20, b"")
    assert kernel.opened == kernel.closed == 2


# struct inet_diag_msg: family, state, timer, retrans, ports, addresses, interface, cookie, expires, queues, uid, inode
ROW = struct.Struct("=4B 2s2s 16s16s I8s 5I")
attributes = st.lists(st.tuples(st.integers(0, 40), st.binary(max_size=12)), max_size=4)


def attribute(kind: int, value: bytes) -> bytes:
    return (struct.pack("=HH", 4 + len(value), kind) + value).ljust((7 + len(value)) & ~3, b"\0")


@given(
    st.sampled_from([socket.AF_INET, socket.AF_INET6]), st.integers(0, 255), st.integers(0, 5),
    st.integers(0, 65535), st.integers(0, 65535), st.binary(min_size=16, max_size=16), st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1), attributes,
)  # fmt: skip
def test_a_row_has_the_fields_of_the_header_file(
    family: int, state: int, timer: int, port: int, remote: int, address: bytes, number: int, inode: int,
    others: list[tuple[int, bytes]],
) -> None:  # fmt: skip
    """Packed here as the kernel packs them, with attributes of any kind behind."""
    told = b"".join(attribute(kind, value) for kind, value in others)
    ports = port.to_bytes(2, "big"), remote.to_bytes(2, "big")
    cookie = number.to_bytes(8, "little")
    packed = ROW.pack(family, state, timer, 0, *ports, address, address[::-1], 7, cookie, number, 1, 2, number, inode)
    row = sock_diag.parse(packed + told, "tcp")
    size = 4 if family == socket.AF_INET else 16
    assert (row.protocol, row.address, row.port) == ("tcp", socket.inet_ntop(family, address[:size]), port)
    peer = (socket.inet_ntop(family, address[::-1][:size]), remote) if remote else (None, None)
    assert (row.remote_address, row.remote_port) == peer
    assert row.state == sock_diag.STATES.get(state, f"state {state}")
    assert (row.uid, row.inode, row.interface, row.cookie) == (number if inode or number else None, inode, 7, cookie)
    assert row.seconds_left == (number / 1000 if timer == 3 else None)
    first = next((value for kind, value in others if kind == sock_diag.INET_DIAG_SKV6ONLY), b"")
    assert row.v6only is (family == socket.AF_INET6 and state in (7, 10) and any(first))


rows = st.builds(
    lambda family, rest: bytes([family]) + rest, st.sampled_from([2, 10]), st.binary(min_size=71, max_size=71)
)


@given(st.lists(rows, min_size=1, max_size=8), st.binary(max_size=24), st.booleans(), st.sampled_from(["tcp", "udp"]))
def test_columns_and_messages_give_the_same_rows(
    parts: list[bytes], tail: bytes, mixed: bool, protocol: str
) -> None:  # fmt: skip
    """All of one length, with any bytes for attributes, or of different ones."""
    tail = tail[: len(tail) & ~3]
    datagram = b"".join(message(20, part + tail * (1 + mixed * index)) for index, part in enumerate(parts))
    length = netlink.uniform(datagram)
    assert bool(length) or (mixed and bool(tail) and len(parts) > 1)
    found = sock_diag.rows_in(datagram, length, protocol)
    assert found == sock_diag.rows_in(datagram, 0, protocol)
    assert [row.port for row in found] == list(sock_diag.ports_in(datagram, length))
    assert len(found) == len(parts)


@st.composite
def answers(draw: st.DrawFn) -> list[bytes | OSError]:
    """Datagrams of rows that are good for the most part: cut, changed, with garbage behind, refusals and errors."""
    found: list[bytes | OSError] = []
    good = rows.map(lambda row: message(20, row))
    bad = st.one_of(
        st.builds(message, st.integers(0, 30), st.binary(max_size=90), st.sampled_from([0, 2, 0x10])),
        st.builds(lambda row, length: message(20, row, 0, length), rows, st.integers(0, 200)),
        st.integers(-200, 200).map(lambda number: message(netlink.NLMSG_ERROR, struct.pack("=i", number))),
        st.just(DONE), st.binary(max_size=40),
    )  # fmt: skip
    for _ in range(draw(st.integers(0, 3))):
        datagram = b"".join(draw(st.lists(st.one_of(good, good, good, bad), max_size=5)))
        if draw(st.integers(0, 4)) == 4:
            datagram = datagram[: draw(st.integers(0, len(datagram)))]
        found.append(datagram)
    end = st.one_of(st.just(DONE), st.sampled_from([errno.ENOBUFS, errno.EINTR]).map(lambda each: OSError(each, "no")))
    return [*found, draw(end)]


@settings(max_examples=300)
@given(st.lists(answers(), min_size=1, max_size=6), st.sampled_from(["tcp", "udp"]))
def test_whatever_the_kernel_answers(given_answers: "list[list[bytes | OSError]]", protocol: str) -> None:
    """Rows, or an OSError; never anything else, never for ever, and no socket stays open."""
    kernel = Kernel(*given_answers)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("anyport._linux.netlink._socket.socket", kernel.socket)
        try:
            found = sock_diag.sockets_in(protocol, [range(1, 65536)])
        except OSError:
            found = []
    assert kernel.opened == kernel.closed
    assert all(0 < row.port <= 65535 and isinstance(row.address, str) for row in found)


@given(st.binary(max_size=60))
def test_one_answer_is_read_or_refused(datagram: bytes) -> None:
    """Of a request that is no dump."""
    kernel = Kernel([datagram])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("anyport._linux.netlink._socket.socket", kernel.socket)
        try:
            assert isinstance(netlink.ask(4, 20, b""), bytes)
        except netlink.NetlinkError:
            pass
    assert kernel.opened == kernel.closed == 1
