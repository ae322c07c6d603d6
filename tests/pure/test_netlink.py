"""What the kernel answers, and what garbage does to its readers."""

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyport._linux import netlink, sock_diag

HEADER = struct.Struct("=IHHII")


def message(kind: int, payload: bytes, flags: int = 0, length: int | None = None) -> bytes:
    size = HEADER.size + len(payload) if length is None else length
    return (HEADER.pack(size, kind, flags, 1, 0) + payload).ljust((size + 3) & ~3, b"\0")


@given(st.lists(st.tuples(st.integers(16, 60000), st.binary(max_size=40)), max_size=5))
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
    """Stands for the netlink socket: answers each request with the next datagrams."""

    def __init__(self, *answers: list[bytes]) -> None:
        self.answers = list(answers)
        self.datagrams: list[bytes] = []
        self.requests = self.closed = 0

    def socket(self, *_args: int) -> "Kernel":
        return self

    def settimeout(self, _seconds: float) -> None:
        pass

    def send(self, _request: bytes) -> None:
        self.requests += 1
        self.datagrams = self.answers.pop(0)

    def recv_into(self, buffer: bytearray) -> int:
        datagram = self.datagrams.pop(0)
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


def test_the_question_for_one_port_is_the_bytes_of_the_header_file() -> None:
    """Golden bytes: inet_diag_req_v2 for IPv4 TCP, all states, then the filter `8080 <= sport <= 8080`."""
    asked = sock_diag.question(socket.AF_INET, "tcp", [range(8080, 8081)])
    assert asked.hex() == "02060000" + "fe3f0000" + "00" * 40 + "ff" * 8 + "14000100" + "02081400" + "0000901f" + "03080c00" + "0000901f"
