"""linux/sock_diag.h, linux/inet_diag.h and sock_diag(7): the sockets that have a port.

Unlike /proc/net/tcp it also lists sockets that are bound and do not listen (Linux 6.8+, state bit 13).

A question is a dump request, with a filter in bytecode for the ports that are wanted; the answer is one struct
inet_diag_msg for each socket.  Its fields become a tuple in one loop, `_rows`, which is nearly all that a long table
costs: 50,000 sockets take 72 ms.  So, for whoever edits it:

- Nothing is called for each socket but what C code does: struct, dicts with `__missing__`, tuple.
- Messages of one length are unpacked by one `iter_unpack`, those of different lengths one by one; both have to give the
  same rows, which a test compares.
- What is made of the fields is the RowMaker's business: a caller that wants something else than rows has it made here.
- Whatever the kernel, or a sandbox in its place, sends: rows, or NetlinkError.
"""

import _socket
import struct
from itertools import chain

from anyport._linux import netlink
from anyport._linux.row import ROWS, Row, RowMaker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Sequence
    from typing import Any

    Texts = dict[int, "_Texts"]

AF_INET, AF_INET6 = int(_socket.AF_INET), int(_socket.AF_INET6)
NETLINK_SOCK_DIAG = 4
TCPDIAG_GETSOCK, SOCK_DIAG_BY_FAMILY = 18, 20
INET_DIAG_REQ_BYTECODE = 1
INET_DIAG_BC_JMP, INET_DIAG_BC_S_GE, INET_DIAG_BC_S_LE = 1, 2, 3
INET_DIAG_SKV6ONLY = 11
TCP_CLOSE, TCP_LISTEN = 7, 10
TCPF_LISTEN, TCPF_BOUND_INACTIVE, TCPF_ALL = 1 << 10, 1 << 13, 0x3FFE
TCPF_BOUND = TCPF_LISTEN | TCPF_BOUND_INACTIVE

# net/tcp_states.h; but for CLOSE, which is what bound-only TCP sockets and unconnected UDP sockets say of themselves
STATES = {
    1: "ESTABLISHED", 2: "SYN_SENT", 3: "SYN_RECV", 4: "FIN_WAIT1", 5: "FIN_WAIT2", 6: "TIME_WAIT", 7: "BOUND",
    8: "CLOSE_WAIT", 9: "LAST_ACK", 10: "LISTEN", 11: "CLOSING", 12: "NEW_SYN_RECV",
}  # fmt: skip

# family, protocol, extensions, pad, states; then struct inet_diag_sockid
_inet_diag_req_v2 = struct.Struct("=BBBxI 2s2s16s16sI8s")
# family, lengths of two addresses, extensions; sockid; states, and an unused field
_inet_diag_req = struct.Struct("=BBBB 2s2s16s16sI8s II")
# family, state, timer, retrans; sockid; expires, rqueue, wqueue, uid, inode
_MESSAGE = "BBBx 4B16s16sI8s I8xII"  # the two ports byte by byte, for they are big-endian
_inet_diag_msg = struct.Struct(f"={_MESSAGE}")
_nlattr = struct.Struct("=HH")
_inet_diag_bc_op = struct.Struct("=BBH")
_HEADER = 16  # bytes of the nlmsghdr before each row
_SPORT_AT = _HEADER + 4
_ANY_SOCKET = b"\xff" * 8
_TIMEWAIT_TIMER = 3
_NOT_CONNECTED = (TCP_CLOSE, TCP_LISTEN)
_MOST_RANGES = 64  # in one filter; for more the table is read whole


def sockets(protocol: str, port: int = 0, states: int = TCPF_ALL) -> "list[Row]":
    """Return this network namespace's sockets in these states with this local port (0: any); OSError if refused."""
    return sockets_in(protocol, (range(port, port + 1),) if port else (), states)


def sockets_in(protocol: str, ranges: "Sequence[range]", states: int = TCPF_ALL) -> "list[Row]":
    """Return the sockets of this network namespace in these states with a local port in these ranges (none: any)."""
    return made_of_sockets(protocol, ranges, states, ROWS)


def made_of_sockets(protocol: str, ranges: "Sequence[range]", states: int, maker: RowMaker) -> "list[Any]":
    """Make of these sockets what `maker` makes; at once, and not by way of rows, it takes a quarter of the time."""
    asked = ranges if len(ranges) <= _MOST_RANGES else ()
    wanted, texts = numbers_in(ranges), _no_texts()

    def read(datagram: bytes, length: int) -> "list[Any]":
        found = rows_in(datagram, length, protocol, texts, maker)
        return found if wanted is None else [each for each in found if each.port in wanted]

    if protocol == "tcp" and asked:
        try:
            return netlink.dump(NETLINK_SOCK_DIAG, TCPDIAG_GETSOCK, question_of_both(asked, states), read)
        except netlink.Interrupted:
            raise
        except netlink.NetlinkError:  # a kernel without the old request
            pass
    found: list[Any] = []
    for kind, question_of_one in _each_family(protocol, asked, states):
        found += netlink.dump(NETLINK_SOCK_DIAG, kind, question_of_one, read)
    return found


def numbers_in(ranges: "Sequence[range]") -> "Container[int] | None":
    """Return the numbers in these ranges, quick to look up; None if there are none, which means all."""
    return (ranges[0] if len(ranges) == 1 else frozenset(chain.from_iterable(ranges))) if ranges else None


def bound_tcp_ports() -> "set[int]":
    """Return the ports to which some TCP socket is bound, listening or not, anywhere; OSError if refused.

    Connections are left out: there may be many more of them.
    """
    ports: set[int] = set()
    for state in (TCPF_LISTEN, TCPF_BOUND_INACTIVE):
        for kind, asked in _each_family("tcp", (), state):
            ports.update(netlink.dump(NETLINK_SOCK_DIAG, kind, asked, ports_in))
    return ports


def ports_in(datagram: bytes, length: int) -> "tuple[int, ...]":
    """Return the local port of each row of a datagram, all of them `length` bytes long (0: of different lengths)."""
    if length < _SPORT_AT + 2:
        return tuple(row.port for row in rows_in(datagram, 0, "tcp"))
    count = len(datagram) // length
    ports = bytearray(2 * count)
    ports[0::2] = datagram[_SPORT_AT::length]
    ports[1::2] = datagram[_SPORT_AT + 1 :: length]
    return struct.unpack(f">{count}H", ports)


def _each_family(protocol: str, ranges: "Sequence[range]", states: int) -> "Iterator[tuple[int, bytes]]":
    for family in (AF_INET, AF_INET6):
        yield SOCK_DIAG_BY_FAMILY, question(family, protocol, ranges, states)


def question(family: int, protocol: str, ranges: "Sequence[range]", states: int = TCPF_ALL) -> bytes:
    """Write the request for the sockets of a family in these states with a port in these ranges (none: with any).

    A filter in bytecode, for the port field of the request does not hold for bound-only sockets (seen on 6.18).
    """
    number = _socket.IPPROTO_TCP if protocol == "tcp" else _socket.IPPROTO_UDP
    blank = bytes(16)
    request = _inet_diag_req_v2.pack(family, number, 0, states, b"\0\0", b"\0\0", blank, blank, 0, _ANY_SOCKET)
    return request + _filter(ranges)


def question_of_both(ranges: "Sequence[range]", states: int = TCPF_ALL) -> bytes:
    """Write the request for TCP of both families at once: that of Linux before 3.3, which 6.18 still answers.

    The kernel goes through its hash tables once for it and not twice, which is nearly all that a question costs.
    """
    blank = bytes(16)
    one = len(ranges) == len(ranges[0]) == 1
    port = ranges[0].start.to_bytes(2, "big") if one else b"\0\0"  # spares the kernel the other listeners
    request = _inet_diag_req.pack(0, 0, 0, 0, port, b"\0\0", blank, blank, 0, _ANY_SOCKET, states, 0)
    return request + _filter(ranges)


def _filter(ranges: "Sequence[range]") -> bytes:
    """Write the attribute that lets only sockets with such a local port through.

    A socket passes if its way through the program ends exactly at the end (net/ipv4/inet_diag.c, inet_diag_bc_run).
    """
    pack, program = _inet_diag_bc_op.pack, b""
    for part in reversed(ranges):
        if program:  # this range, or else what comes behind it
            program = pack(INET_DIAG_BC_JMP, 4, 4 + len(program)) + program
        at_least = pack(INET_DIAG_BC_S_GE, 8, 20) + pack(0, 0, part[0])
        at_most = pack(INET_DIAG_BC_S_LE, 8, 12) + pack(0, 0, part[-1])
        program = at_least + at_most + program
    return _nlattr.pack(_nlattr.size + len(program), INET_DIAG_REQ_BYTECODE) + program if program else b""


_columns: "dict[int, struct.Struct]" = {}  # by the length of a message


def rows_in(
    datagram: bytes, length: int, protocol: str, texts: "Texts | None" = None, maker: RowMaker = ROWS
) -> "list[Any]":
    """Return the rows of a datagram, all of them `length` bytes long (0: of different lengths).

    `texts` remembers the addresses that were met.  NetlinkError for what is cut short, or of another family.
    """
    rest = length - _HEADER - _inet_diag_msg.size
    answers: Iterable[tuple[Any, ...]]
    if rest < 0:
        answers = map(_fields, netlink.rows(datagram))
    else:
        if length not in _columns:
            _columns[length] = struct.Struct(f"={_HEADER}x{_MESSAGE}{rest}s")
        answers = _columns[length].iter_unpack(datagram)
    return _rows(answers, protocol, texts or _no_texts(), maker)


def parse(answer: bytes, protocol: str) -> Row:
    """Read one row from the bytes of a struct inet_diag_msg; NetlinkError for too few, or of another family."""
    row: Row = _rows([_fields(answer)], protocol, _no_texts(), ROWS)[0]
    return row


def _fields(answer: bytes) -> "tuple[Any, ...]":
    if len(answer) < _inet_diag_msg.size:
        raise netlink.NetlinkError(f"inet_diag message of {len(answer)} bytes: {_inet_diag_msg.size} are needed")
    return *_inet_diag_msg.unpack_from(answer), answer[_inet_diag_msg.size :]


def _rows(answers: "Iterable[tuple[Any, ...]]", protocol: str, texts: "Texts", maker: RowMaker) -> "list[Any]":
    rows: list[Any] = []
    # This loop is what a long table costs, so nothing in it is looked up that can be had before.
    new, interfaces, users, has_cookie = maker.new, maker.interfaces, maker.users, maker.has_cookie
    add, states, v6 = rows.append, STATES.get, AF_INET6
    try:
        for (
            family, state, timer, high, low, remote_high, remote_low, source, destination, interface, cookie, expires,
            uid, inode, attributes,
        ) in answers:  # fmt: skip
            known = texts[family]
            remote_port = (remote_high << 8) + remote_low or None
            if not (inode or uid):
                uid = None  # noqa: PLW2901
            add(new((
                protocol, known[source], (high << 8) + low, known[destination] if remote_port else None, remote_port,
                states(state) or f"state {state}", uid, inode,
                expires / 1000 if timer == _TIMEWAIT_TIMER else None,
                family == v6 and state in _NOT_CONNECTED and any(_attribute(attributes, INET_DIAG_SKV6ONLY)),
                interfaces[interface], users[uid], cookie if has_cookie else (),
            )))  # fmt: skip
    except KeyError as error:
        raise netlink.NetlinkError(f"inet_diag message of address family {error}") from None
    return rows


class _Texts(dict[bytes, str]):
    """The addresses of a family as texts, each made once."""

    def __init__(self, family: int) -> None:
        super().__init__()
        self._family = family

    def __missing__(self, address: bytes) -> str:
        text = self[address] = _socket.inet_ntop(self._family, address[:4] if self._family == AF_INET else address)
        return text


def _no_texts() -> "Texts":
    return {AF_INET: _Texts(AF_INET), AF_INET6: _Texts(AF_INET6)}


def _attribute(attributes: bytes, kind: int) -> bytes:
    """Return the value of an attribute, or nothing."""
    at = 0
    while at + _nlattr.size <= len(attributes):
        length, found = _nlattr.unpack_from(attributes, at)
        if length < _nlattr.size:
            break
        if found == kind:
            return attributes[at + _nlattr.size : at + length]
        at += (length + 3) & ~3
    return b""
