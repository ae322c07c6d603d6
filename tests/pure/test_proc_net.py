"""The tables of /proc/net, written here as the kernel writes them."""

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyport._linux import proc_net
from anyport._linux.row import Row
from anyport._linux.sock_diag import STATES

HEADER = b"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
V4, V6 = socket.AF_INET, socket.AF_INET6
ports = st.integers(0, 65535)
numbers = st.integers(0, 2**32 - 1)


def endpoint(address: bytes, port: int) -> str:
    """As net/ipv4/tcp_ipv4.c and net/ipv6/tcp_ipv6.c do it: words of 32 bits as the machine reads them, %08X each."""
    words = struct.unpack(f"={len(address) // 4}I", address)
    return "".join(f"{word:08X}" for word in words) + f":{port:04X}"


def line(local: str, remote: str, state: int, uid: int, inode: int, timer: int = 0, when: int = 0) -> bytes:
    """get_tcp4_sock(); that of UDP, and those of IPv6, differ in their spaces and in what comes behind the inode."""
    text = (
        f"{7:4d}: {local} {remote} {state:02X} {0:08X}:{5:08X} {timer:02X}:{when:08X} {0:08X} {uid:5d} {0:8d} {inode}"
    )
    return f"{text} 1 0000000000000000 100 0 0 10 0".ljust(149).encode() + b"\n"


def row(
    protocol: str,
    address: str,
    port: int,
    there: str | None,
    remote_port: int | None,
    state: str,
    uid: int | None,
    inode: int,
) -> Row:
    return Row(
        protocol, address, port, remote_address=there, remote_port=remote_port, state=state, uid=uid, inode=inode
    )


rows = st.tuples(
    st.sampled_from([V4, V6]), st.binary(min_size=16, max_size=16), ports, ports,
    st.sampled_from([*STATES, 13, 255]), numbers, numbers,
)  # fmt: skip


@given(st.lists(rows, max_size=6), st.sampled_from(["tcp", "udp"]))
def test_what_the_kernel_writes_is_read(
    parts: "list[tuple[int, bytes, int, int, int, int, int]]", protocol: str
) -> None:  # fmt: skip
    """Both families, any state; the uid is not told where the kernel has 0 for a socket that no process has."""
    text, expected = HEADER, []
    for family, data, port, remote_port, state, uid, inode in parts:
        size = 4 if family == V4 else 16
        local, remote = data[:size], data[::-1][:size]
        text += line(endpoint(local, port), endpoint(remote, remote_port), state, uid, inode)
        there = socket.inet_ntop(family, remote) if remote_port else None
        name = STATES.get(state, f"state {state}")
        here = socket.inet_ntop(family, local)
        uid_told = uid if inode or uid else None
        expected.append(row(protocol, here, port, there, remote_port or None, name, uid_told, inode))
    assert list(proc_net.parse(text, protocol)) == expected


def test_time_wait_has_its_seconds() -> None:
    """Timer 3, in hundredths of a second; any other timer says nothing of that."""
    here, there = endpoint(b"\x7f\0\0\1", 8080), endpoint(b"\x7f\0\0\1", 40000)
    text = HEADER + line(here, there, 6, 0, 0, 3, 4110) + line(here, there, 1, 0, 5, 2, 4110)
    left, other = proc_net.parse(text, "tcp")
    assert (left.state, left.seconds_left, left.uid) == ("TIME_WAIT", 41.1, None)
    assert (left.remote_address, left.remote_port) == ("127.0.0.1", 40000)
    assert (other.state, other.seconds_left, other.uid) == ("ESTABLISHED", None, 0)


def test_lines_of_a_real_kernel() -> None:
    """Golden lines of Linux 6.18 on x86-64: a TCP server on 127.0.0.1:8080, a UDP socket on [::1]:5353."""
    if struct.pack("=H", 1) != struct.pack("<H", 1):
        return
    tcp = HEADER + (
        b"   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 87505575 1 "
        b"0000000000000000 100 0 0 10 0                  \n"
    )
    udp6 = HEADER + (
        b" 4242: 00000000000000000000000001000000:14E9 00000000000000000000000000000000:0000 07 00000000:00000000 "
        b"00:00000000 00000000     0        0 87505576 2 0000000000000000 0\n"
    )
    assert list(proc_net.parse(tcp, "tcp")) == [row("tcp", "127.0.0.1", 8080, None, None, "LISTEN", 1000, 87505575)]
    assert list(proc_net.parse(udp6, "udp")) == [row("udp", "::1", 5353, None, None, "BOUND", 0, 87505576)]


def test_an_empty_table_has_no_rows() -> None:
    """Nothing but the header, or not even that."""
    assert list(proc_net.parse(HEADER, "tcp")) == list(proc_net.parse(b"", "tcp")) == []


GOOD = line(endpoint(b"\x7f\0\0\1", 8080), endpoint(bytes(4), 0), 10, 0, 5)
words = st.lists(
    st.sampled_from(GOOD.split()) | st.binary(max_size=12) | st.just(b"F" * 400 + b":" + b"F" * 400), max_size=14
)  # fmt: skip


@given(st.lists(words | st.just(GOOD.split()), max_size=5), st.binary(max_size=60))
def test_noise_is_an_oserror(lines: list[list[bytes]], noise: bytes) -> None:
    """Or rows, where it looks like some; never another exception."""
    for text in (HEADER + b"\n".join(b" ".join(each) for each in lines), HEADER + noise):
        try:
            assert all(isinstance(row, Row) for row in proc_net.parse(text, "tcp"))
        except OSError as error:
            assert "a line of /proc/net/tcp that can't be read" in str(error)


@pytest.mark.parametrize(("at", "word"), [
    (1, "0100007F"), (1, "0100007:1F90"), (1, "0100007F00:1F90"), (1, "xx00007F:1F90"), (2, "00000000:"), (3, "0G"),
    (3, ""), (5, "03:"), (5, "03:zz"), (5, "03:" + "F" * 300), (7, "root"), (9, "-"), (1, "0100007F:-001"),
    (1, "0100007F:1_90"), (1, "0100007F:1F900"),
])  # fmt: skip
def test_a_field_that_is_none_is_an_oserror(at: int, word: str) -> None:
    """Each by itself, in a line that is right otherwise; a line cut short as well."""
    fields = GOOD.decode().split()
    fields[at] = word
    with pytest.raises(OSError, match="can't be read"):
        list(proc_net.parse(HEADER + " ".join(fields).encode(), "tcp"))
    with pytest.raises(OSError, match="can't be read"):
        list(proc_net.parse(HEADER + b" ".join(GOOD.split()[:at]), "tcp"))
