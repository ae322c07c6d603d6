"""linux/sock_diag.h, linux/inet_diag.h and sock_diag(7): the sockets that have a port.

Unlike /proc/net/tcp it also lists sockets that are bound and do not listen (Linux 6.8+, state bit 13).
"""

import _socket
import struct

from anyport._linux import netlink

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
INET_DIAG_REQ_BYTECODE = 1
INET_DIAG_BC_S_EQ = 11
INET_DIAG_SKV6ONLY = 11
TCP_CLOSE = 7
TCPF_LISTEN, TCPF_BOUND_INACTIVE, TCPF_ALL = 1 << 10, 1 << 13, 0x3FFE

# net/tcp_states.h
STATES = {
    1: "ESTABLISHED", 2: "SYN_SENT", 3: "SYN_RECV", 4: "FIN_WAIT1", 5: "FIN_WAIT2", 6: "TIME_WAIT", 7: "CLOSE",
    8: "CLOSE_WAIT", 9: "LAST_ACK", 10: "LISTEN", 11: "CLOSING", 12: "NEW_SYN_RECV",
}  # fmt: skip

# family, protocol, extensions, pad, states; then struct inet_diag_sockid
_inet_diag_req_v2 = struct.Struct("=BBBxI 2s2s16s16sI8s")
# family, state, timer, retrans; sockid; expires, rqueue, wqueue, uid, inode
_inet_diag_msg = struct.Struct("=BBBB 2s2s16s16sI8s IIIII")
_nlattr = struct.Struct("=HH")
_inet_diag_bc_op = struct.Struct("=BBH")
_SPORT_AT = 20  # of a row in its message: behind the nlmsghdr and four bytes
_ANY_SOCKET = b"\xff" * 8


class Row:
    """One socket of the kernel's table; `inode` is 0 when no process has it any more (TIME_WAIT and orphans).

    `v6only` is told of sockets that are bound or listening, and False for all others.
    """

    __slots__ = ("address", "cookie", "inode", "interface", "port", "protocol", "remote_port", "state", "uid", "v6only")

    def __init__(  # noqa: PLR0913, PLR0917 - a row; every field is one
        self, protocol: str, state: str, address: str, port: int, uid: int, inode: int
    ) -> None:
        self.protocol = protocol
        self.state = state
        self.address = address
        self.port = port
        self.uid = uid
        self.inode = inode
        self.remote_port = 0
        self.interface = 0
        self.cookie = b""
        self.v6only = False


def sockets(protocol: str, port: int = 0, states: int = TCPF_ALL) -> "list[Row]":
    """The sockets of this network namespace in these states with this local port (0: any); OSError if refused."""
    number = _socket.IPPROTO_TCP if protocol == "tcp" else _socket.IPPROTO_UDP
    rows: list[Row] = []
    for family in (_socket.AF_INET, _socket.AF_INET6):
        asked = question(family, number, port, states)
        answers = netlink.dump(NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, asked, netlink.rows)
        rows += [parse(answer, protocol) for answer in answers]
    return [row for row in rows if port in (0, row.port)]


def servers(protocol: str, port: int = 0) -> "list[Row]":
    """The sockets that clients can reach: for TCP those that listen, for UDP all that are bound."""
    return sockets(protocol, port, TCPF_LISTEN if protocol == "tcp" else TCPF_ALL)


def bound_tcp_ports() -> "set[int]":
    """The ports to which some TCP socket is bound, listening or not, on whatever address; OSError if refused.

    Connections are left out: there may be many more of them.
    """
    ports: set[int] = set()
    for state in (TCPF_LISTEN, TCPF_BOUND_INACTIVE):
        for family in (_socket.AF_INET, _socket.AF_INET6):
            asked = question(family, _socket.IPPROTO_TCP, 0, state)
            ports.update(netlink.dump(NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, asked, ports_in))
    return ports


def ports_in(datagram: bytes, length: int) -> "tuple[int, ...]":
    """The local port of each row of a datagram, all of them `length` bytes long (0: of different lengths)."""
    if length < _SPORT_AT + 2:
        return tuple(parse(row, "tcp").port for row in netlink.rows(datagram))
    count = len(datagram) // length
    ports = bytearray(2 * count)
    ports[0::2] = datagram[_SPORT_AT::length]
    ports[1::2] = datagram[_SPORT_AT + 1 :: length]
    return struct.unpack(f">{count}H", ports)


def question(family: int, protocol: int, port: int, states: int = TCPF_ALL) -> bytes:
    """The request for all sockets in these states with that local port (0: with any).

    A filter in bytecode, for the port field of the request does not hold for bound-only sockets (seen on 6.18).
    """
    blank = bytes(16)
    request = _inet_diag_req_v2.pack(family, protocol, 0, states, b"\0\0", b"\0\0", blank, blank, 0, _ANY_SOCKET)
    if not port:
        return request
    operations = _inet_diag_bc_op.pack(INET_DIAG_BC_S_EQ, 8, 12) + _inet_diag_bc_op.pack(0, 0, port)
    return request + _nlattr.pack(_nlattr.size + len(operations), INET_DIAG_REQ_BYTECODE) + operations


def parse(answer: bytes, protocol: str) -> Row:
    """One row from the bytes of a struct inet_diag_msg; NetlinkError if they are too few or of another family."""
    if len(answer) < _inet_diag_msg.size:
        raise netlink.NetlinkError(f"inet_diag message of {len(answer)} bytes: {_inet_diag_msg.size} are needed")
    family, state, _, _, sport, dport, source, _, interface, cookie, _, _, _, uid, inode = _inet_diag_msg.unpack_from(
        answer
    )
    if family == _socket.AF_INET:
        address = _socket.inet_ntop(_socket.AF_INET, source[:4])
    elif family == _socket.AF_INET6:
        address = _socket.inet_ntop(_socket.AF_INET6, source)
    else:
        raise netlink.NetlinkError(f"inet_diag message of address family {family}")
    name = STATES.get(state, f"state {state}")
    if state == TCP_CLOSE:  # what a bound-only TCP socket and every UDP socket say of themselves
        name = "BOUND"
    row = Row(protocol, name, address, int.from_bytes(sport, "big"), uid, inode)
    row.cookie = cookie
    row.interface = interface
    row.remote_port = int.from_bytes(dport, "big")
    row.v6only = any(_attribute(answer, INET_DIAG_SKV6ONLY))
    return row


def _attribute(answer: bytes, kind: int) -> bytes:
    """The value of an attribute behind the row, or nothing."""
    at = _inet_diag_msg.size
    while at + _nlattr.size <= len(answer):
        length, found = _nlattr.unpack_from(answer, at)
        if length < _nlattr.size:
            break
        if found == kind:
            return answer[at + _nlattr.size : at + length]
        at += (length + 3) & ~3
    return b""
