"""linux/netlink.h and netlink(7): a request, and its answer cut into messages."""

import _socket
import struct
import sys
from errno import ENOBUFS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import TypeVar

    T = TypeVar("T")
    Read = Callable[[bytes, int], Iterable[T]]

AF_NETLINK = 16
NLM_F_REQUEST, NLM_F_ROOT, NLM_F_MATCH = 0x1, 0x100, 0x200
NLM_F_DUMP = NLM_F_ROOT | NLM_F_MATCH
NLM_F_DUMP_INTR = 0x10
NLMSG_ERROR, NLMSG_DONE = 2, 3

_nlmsghdr = struct.Struct("=IHHII")  # length, type, flags, sequence, port id
_BUFFER = 1 << 16
_TRIES = 5
_PATIENCE = 5.0  # seconds: a sandbox that swallows the request must not hang us


class NetlinkError(OSError):
    """The kernel refused the request, or its answer can't be read."""


class Interrupted(NetlinkError):
    """The answer may lack rows: the table changed meanwhile (NLM_F_DUMP_INTR), or some were lost (ENOBUFS)."""


def request(kind: int, flags: int, payload: bytes) -> bytes:
    return _nlmsghdr.pack(_nlmsghdr.size + len(payload), kind, NLM_F_REQUEST | flags, 1, 0) + payload


def messages(datagram: bytes) -> "Iterator[tuple[int, bytes]]":
    """Cut one datagram into (type, payload); NetlinkError for a refusal, a cut or an interrupted answer."""
    if not datagram:
        raise NetlinkError("an empty netlink answer")
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
        # A dump that fails says so in its last message: ENOENT, for one, without the module udp_diag.
        if kind == NLMSG_ERROR or (kind == NLMSG_DONE and int.from_bytes(payload[:4], sys.byteorder, signed=True) < 0):
            raise _refusal(payload)
        yield kind, payload
        at += (length + 3) & ~3


def _refusal(payload: bytes) -> NetlinkError:
    if len(payload) < 4:
        return NetlinkError("netlink error message without an error number")
    number = -int.from_bytes(payload[:4], sys.byteorder, signed=True)
    return NetlinkError(number, "the kernel refused the netlink request")


def uniform(datagram: bytes) -> int:
    """Return the length of each message if all have the same length, type and flags; else 0.

    Rows of one kind are so, as a rule.  Then whole columns can be cut out, which is ten times as fast as message by
    message.
    """
    length = int.from_bytes(datagram[:4], sys.byteorder)
    if length < _nlmsghdr.size or length % 4 or len(datagram) % length:
        return 0
    columns = (datagram[at::length] for at in range(8))
    return length if all(column == column[:1] * len(column) for column in columns) else 0


def rows(datagram: bytes, _length: int = 0) -> "list[bytes]":
    """Return the payload of each message, but that of the last one of a dump, which says that it is done."""
    return [payload for kind, payload in messages(datagram) if kind != NLMSG_DONE]


def ask(protocol: int, kind: int, payload: bytes) -> bytes:
    """Make a request that has one answer, and return that; OSError when the kernel refuses."""
    sock = _socket.socket(AF_NETLINK, _socket.SOCK_RAW, protocol)
    try:
        sock.settimeout(_PATIENCE)
        sock.send(request(kind, 0, payload))
        return next(iter(messages(sock.recv(_BUFFER))))[1]
    finally:
        sock.close()


def dump(protocol: int, kind: int, payload: bytes, read: "Read[T]") -> "list[T]":
    """Ask for a dump; return what `read` finds in each datagram (it is told what `uniform` says of it).

    Asked again when the table changed meanwhile; OSError when the kernel refuses.
    """
    for left in reversed(range(_TRIES)):
        try:
            return _dump_once(protocol, kind, payload, read)
        except Interrupted:
            if not left:
                raise
    raise AssertionError("unreachable")


def _dump_once(protocol: int, kind: int, payload: bytes, read: "Read[T]") -> "list[T]":
    found: list[T] = []
    sock = _socket.socket(AF_NETLINK, _socket.SOCK_RAW, protocol)
    try:
        sock.settimeout(_PATIENCE)
        sock.send(request(kind, NLM_F_DUMP, payload))
        buffer = bytearray(_BUFFER)  # one for all: a new one each time would be new memory each time
        while True:
            datagram = bytes(memoryview(buffer)[: _receive(sock, buffer)])
            length = uniform(datagram)  # then the first message says what all of them are
            kinds = [each for each, _ in messages(datagram[:length] if length else datagram)]
            found.extend(read(datagram, 0 if NLMSG_DONE in kinds else length))
            if NLMSG_DONE in kinds:
                return found
    finally:
        sock.close()


def _receive(sock: "_socket.socket", buffer: bytearray) -> int:
    try:
        return sock.recv_into(buffer)
    except OSError as error:
        if error.errno == ENOBUFS:
            raise Interrupted(ENOBUFS, "answers of the kernel were lost") from None
        raise
