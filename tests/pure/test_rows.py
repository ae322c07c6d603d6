"""Rows of the socket table, read from the messages of sock_diag."""

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyport._linux import netlink, sock_diag
from helpers.fake_kernel import DONE, message, rows


@given(st.binary(max_size=100), st.sampled_from(["tcp", "udp"]))
def test_a_row_is_read_or_refused(answer: bytes, protocol: str) -> None:
    """Too short, or of a family that is not IP: NetlinkError."""
    try:
        row = sock_diag.parse(answer, protocol)
    except netlink.NetlinkError:
        return
    assert 0 <= row.port <= 65535


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


# struct inet_diag_msg: family, state, timer, retrans, ports, addresses, interface, cookie, expires, queues, uid, inode
ROW = struct.Struct("=4B 2s2s 16s16s I8s 5I")
kinds = st.sampled_from([1, sock_diag.INET_DIAG_SKV6ONLY]) | st.integers(0, 40)
attributes = st.lists(st.tuples(kinds, st.binary(max_size=12)), max_size=4)


def attribute(kind: int, value: bytes) -> bytes:
    return (struct.pack("=HH", 4 + len(value), kind) + value).ljust((7 + len(value)) & ~3, b"\0")


@given(
    st.sampled_from([socket.AF_INET, socket.AF_INET6]), st.sampled_from([7, 10]) | st.integers(0, 255),
    st.integers(0, 5),
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


@pytest.mark.parametrize("size", range(9))
def test_an_attribute_is_found_behind_others_of_any_length(size: int) -> None:
    """Each begins at the next multiple of four bytes."""
    start = bytes([socket.AF_INET6, 10]).ljust(ROW.size, b"\0")
    before = attribute(1, bytes(size)) + attribute(2, b"\1" * size)
    assert sock_diag.parse(start + before + attribute(sock_diag.INET_DIAG_SKV6ONLY, b"\1"), "tcp").v6only
    assert not sock_diag.parse(start + before + attribute(sock_diag.INET_DIAG_SKV6ONLY, b"\0"), "tcp").v6only
    assert not sock_diag.parse(start + before, "tcp").v6only
