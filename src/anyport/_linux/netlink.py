"""linux/netlink.h and netlink(7): one dump request, and its answer cut into messages."""

import _socket
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

AF_NETLINK = 16
NLM_F_REQUEST, NLM_F_ROOT, NLM_F_MATCH = 0x1, 0x100, 0x200
NLM_F_DUMP = NLM_F_ROOT | NLM_F_MATCH
NLM_F_DUMP_INTR = 0x10
NLMSG_ERROR, NLMSG_DONE = 2, 3

_nlmsghdr = struct.Struct("=IHHII")  # length, type, flags, sequence, port id
_BUFFER = 1 << 16
_TRIES = 5


class NetlinkError(OSError):
    """The kernel refused the request, or its answer can't be read."""


class Interrupted(NetlinkError):
    """The table changed while it was dumped (NLM_F_DUMP_INTR): the answer may lack rows."""


def request(kind: int, flags: int, payload: bytes) -> bytes:
    return _nlmsghdr.pack(_nlmsghdr.size + len(payload), kind, NLM_F_REQUEST | flags, 1, 0) + payload


def messages(datagram: bytes) -> "Iterator[tuple[int, bytes]]":
    """Cut one datagram into (type, payload); NetlinkError for a refusal, a cut or an interrupted answer."""
    at = 0
    while at < len(datagram):
        if len(datagram) - at < _nlmsghdr.size:
            raise NetlinkError(f"netlink message of {len(datagram) - at} bytes: shorter than its header")
        length, kind, flags, _, _ = _nlmsghdr.unpack_from(datagram, at)
        if not _nlmsghdr.size <= length <= len(datagram) - at:
            raise NetlinkError(f"netlink message says {length} bytes where {len(datagram) - at} are left")
        if flags & NLM_F_DUMP_INTR:
            raise Interrupted("the socket table changed while it was read")
        payload = datagram[at + _nlmsghdr.size : at + length]
        if kind == NLMSG_ERROR:
            raise _refusal(payload)
        yield kind, payload
        at += (length + 3) & ~3


def _refusal(payload: bytes) -> NetlinkError:
    if len(payload) < 4:
        return NetlinkError("netlink error message without an error number")
    number = -int.from_bytes(payload[:4], "little", signed=True)
    return NetlinkError(number, "the kernel refused the netlink request")


def dump(protocol: int, kind: int, payload: bytes) -> "list[bytes]":
    """All payloads that the kernel answers to one dump request; asked again when the table changed meanwhile."""
    for left in reversed(range(_TRIES)):
        try:
            return _dump_once(protocol, kind, payload)
        except Interrupted:
            if not left:
                raise
    raise AssertionError("unreachable")


def _dump_once(protocol: int, kind: int, payload: bytes) -> "list[bytes]":
    rows: list[bytes] = []
    sock = _socket.socket(AF_NETLINK, _socket.SOCK_RAW, protocol)
    try:
        sock.settimeout(5.0)  # a sandbox that swallows the request must not hang us
        sock.send(request(kind, NLM_F_DUMP, payload))
        while True:
            for answer, row in messages(sock.recv(_BUFFER)):
                if answer == NLMSG_DONE:
                    return rows
                rows.append(row)
    finally:
        sock.close()
