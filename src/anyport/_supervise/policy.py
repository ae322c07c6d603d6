"""The policy of a supervisor: from a trapped call and its socket to what is to be done about it (pure).

| call | socket | address, or port | to be done |
|---|---|---|---|
| any | not TCP or UDP, or of another network namespace | | the kernel goes on |
| bind | TCP, UDP | a held port, or one that stands for it | made for the program, past the hold |
| bind | TCP, UDP | any other | made for the program as it is |
| listen | TCP, does not listen yet | bound to a held port | made for the program, past the hold |
| listen | all others | | the kernel goes on |
| connect | TCP | a port that stands for a held one, at this machine | made for the program, to the held port |
| getsockname | TCP | a held port that another stands for | answered with that other one |
| connect, getsockname | all others | | the kernel goes on |

A bind is made for the program even where nothing is held: were the kernel to go on, it would read the address anew, and
another thread may have changed it meanwhile.  Then our privileges are not to count, hence `needs_privilege`.
"""

import _socket
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from anyport._ports import Number

GO_ON, AS_IT_IS, LET_IN, CONNECT, NAME = "go on", "as it is", "let in", "connect", "name"
_FAMILIES = (_socket.AF_INET, _socket.AF_INET6)
_PROTOCOLS = {
    (_socket.SOCK_STREAM, _socket.IPPROTO_TCP): "tcp",
    (_socket.SOCK_STREAM, 262): "tcp",  # IPPROTO_MPTCP: one space of numbers
    (_socket.SOCK_DGRAM, _socket.IPPROTO_UDP): "udp",
}
_PORT = slice(2, 4)  # in struct sockaddr_in and sockaddr_in6
_WILDCARDS = (bytes(4), bytes(16))
_MAPPED = bytes(10) + b"\xff\xff"  # ::ffff:0:0/96


class Step:
    """What is to be done, with which address and for which of the held ports."""

    __slots__ = ("action", "address", "needs_privilege", "number")

    def __init__(
        self, action: str, address: bytes = b"", number: "Number | None" = None, *, needs_privilege: bool = False
    ) -> None:
        self.action = action
        self.address = address
        self.number = number
        self.needs_privilege = needs_privilege


class Policy:
    """Decides for these held numbers; `own` are the ports that stand for a held TCP port, and which one.

    Below `unprivileged` only those may bind who have CAP_NET_BIND_SERVICE.
    """

    def __init__(self, numbers: "Iterable[Number]", own: "Mapping[int, int]", unprivileged: int) -> None:
        self._numbers = frozenset(numbers)
        self._own = own
        self._names = {held: port for port, held in reversed([*own.items()])}  # of several the first
        self._unprivileged = unprivileged

    def bind(self, protocol: str, address: bytes) -> Step:
        """Decide about a bind of a socket of this protocol ("" for one that is none of our business)."""
        if not protocol:
            return Step(GO_ON)
        port = self._held(protocol, port_of(address))
        address = with_port(address, port)
        needs_privilege = 0 < port < self._unprivileged
        if (protocol, port) in self._numbers:
            return Step(LET_IN, address, (protocol, port), needs_privilege=needs_privilege)
        return Step(AS_IT_IS, address, needs_privilege=needs_privilege)

    def listen(self, protocol: str, port: int, *, is_listening: bool) -> Step:
        """Decide about a listen of a socket that is bound to this port (0: to none)."""
        if protocol == "tcp" and (protocol, port) in self._numbers and not is_listening:
            return Step(LET_IN, number=(protocol, port))
        return Step(GO_ON)

    def connect(self, protocol: str, address: bytes) -> Step:
        """Decide about a connect; it is to be made only if the address is one of this machine's."""
        port = port_of(address)
        if protocol != "tcp" or port not in self._own or host_of(address) is None:
            return Step(GO_ON)
        return Step(CONNECT, with_port(address, self._own[port]))

    def getsockname(self, protocol: str, address: bytes) -> Step:
        port = port_of(address)
        if protocol != "tcp" or port not in self._names:
            return Step(GO_ON)
        return Step(NAME, with_port(address, self._names[port]))

    def _held(self, protocol: str, port: int) -> int:
        return self._own.get(port, port) if protocol == "tcp" else port


def protocol_of(family: int, kind: int, proto: int) -> str:
    """Return `tcp`, `udp`, or nothing for sockets of all other kinds."""
    return _PROTOCOLS.get((kind, proto), "") if family in _FAMILIES else ""


def port_of(address: bytes) -> int:
    """Return the port of an IPv4 or IPv6 address; 0 if it is too short to have one."""
    return int.from_bytes(address[_PORT], "big") if len(address) >= _PORT.stop else 0


def with_port(address: bytes, port: int) -> bytes:
    """Return this address with another port."""
    if len(address) < _PORT.stop:
        return address
    return address[: _PORT.start] + port.to_bytes(2, "big") + address[_PORT.stop :]


def host_of(address: bytes) -> "bytes | None":
    """Return the IPv4 or IPv6 address itself, a mapped one as IPv4; None for one of another family, or cut short."""
    family = int.from_bytes(address[:2], sys.byteorder)
    if family == _socket.AF_INET and len(address) >= 16:
        return address[4:8]
    if family == _socket.AF_INET6 and len(address) >= 24:
        host = address[8:24]
        return host[12:] if host.startswith(_MAPPED) else host
    return None


def has_scope(address: bytes) -> bool:
    """Tell whether a bind to it takes an interface, too: link-local addresses, fe80::/10 and ff02::/16."""
    host = host_of(address) or b""
    return len(host) == 16 and ((host[0] == 0xFE and host[1] & 0xC0 == 0x80) or host[:2] == b"\xff\x02")


def is_here_anyway(host: bytes) -> bool:
    """Tell whether it is an address of every machine: loopback, or the wildcard, which means loopback to connect."""
    return host in _WILDCARDS or host == bytes(15) + b"\1" or (len(host) == 4 and host[0] == 127)
