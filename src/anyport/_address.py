"""Where a port must be unused: hosts, address families and protocols, and how they are written."""

# `_socket` is the C half of `socket`.  The Python half costs 5 ms at start (enum, selectors), more than all the rest
# of `anyport` together, and gives nothing that a probe needs.
import _socket

AF_INET: int = _socket.AF_INET
AF_INET6: int = _socket.AF_INET6
TCP: int = _socket.SOCK_STREAM
UDP: int = _socket.SOCK_DGRAM
PROTOCOL_NAMES = {TCP: "tcp", UDP: "udp"}


class Endpoint:
    """One address of one family and protocol on which a port must be unused.

    `everywhere` marks the dual-stack `::`, which stands for every local address; `optional` an address that was found
    by name next to others, and may be missing where its family is.
    """

    __slots__ = ("everywhere", "family", "host", "kind", "optional", "scope")

    def __init__(  # noqa: PLR0913 - a record; every field is one
        self, family: int, kind: int, host: str, *, scope: int = 0, everywhere: bool = False, optional: bool = False
    ) -> None:
        self.family = family
        self.kind = kind
        self.host = host
        self.scope = scope
        self.everywhere = everywhere
        self.optional = optional

    def sockaddr(self, port: int) -> "tuple[str, int] | tuple[str, int, int, int]":
        if self.family == AF_INET6:
            return (self.host, port, 0, self.scope)
        return (self.host, port)

    @property
    def protocol(self) -> str:
        return PROTOCOL_NAMES[self.kind]

    @property
    def hosts(self) -> "list[str]":
        """Return the addresses that it stands for, as texts."""
        return ["0.0.0.0", "::"] if self.everywhere else [self.host]

    @property
    def written(self) -> str:
        """Write the address, `*` for everywhere."""
        return "*" if self.everywhere else self.host

    def __repr__(self) -> str:
        return f"Endpoint({self.written}/{self.protocol})"


def may_overlap(one: str, other: str, *, v6only: bool = False) -> bool:
    """Tell whether sockets bound to these two addresses can be in each other's way on one port.

    `::` means both families, but for the first with `v6only`.
    """
    if v6only and ":" not in other:
        return False
    one, other = (text.removeprefix("::ffff:") if "." in text else text for text in (one, other))
    if one == other or "::" in (one, other):
        return True
    return "0.0.0.0" in (one, other) and ":" not in one + other


def pair(address: str, port: int) -> str:
    """Write an address and a port: `127.0.0.1:80`, `[::1]:80`."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
