"""Where a port must be unused: hosts, address families and protocols, and how they are written."""

# `_socket` is the C half of `socket`.  The Python half costs 5 ms at start (enum, selectors), more than all the rest
# of `anyport` together, and gives nothing that a probe needs.
import _socket
from errno import EMFILE, ENFILE

from anyport.errors import AddressUnavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

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
        """The addresses it stands for, as texts."""
        return ["0.0.0.0", "::"] if self.everywhere else [self.host]

    @property
    def written(self) -> str:
        """The address as a text, `*` for everywhere."""
        return "*" if self.everywhere else self.host

    def __repr__(self) -> str:
        return f"Endpoint({self.written}/{self.protocol})"


def may_overlap(one: str, other: str, *, v6only: bool = False) -> bool:
    """Whether sockets bound to these two addresses can be in each other's way on one port.

    `::` means both families, but for the first with `v6only`.
    """
    if v6only and ":" not in other:
        return False
    one, other = (text.removeprefix("::ffff:") if "." in text else text for text in (one, other))
    if one == other or "::" in (one, other):
        return True
    return "0.0.0.0" in (one, other) and ":" not in one + other


def endpoints(hosts: "Sequence[str]", kinds: "Sequence[int]") -> "tuple[Endpoint, ...]":
    """Every address that the hosts mean (none: everywhere), for every protocol; AddressUnavailable if one has none."""
    if not hosts:
        return tuple(Endpoint(AF_INET6, kind, "::", everywhere=True) for kind in kinds)
    found: dict[tuple[int, str, int], bool] = {}
    for host in hosts:
        addresses = _resolve(host)
        for address in addresses:
            found[address] = len(addresses) > 1 and found.get(address, True)
    return tuple(
        Endpoint(family, kind, text, scope=scope, optional=optional)
        for kind in kinds
        for (family, text, scope), optional in found.items()
    )


def _resolve(host: str) -> "list[tuple[int, str, int]]":
    try:
        answers = _socket.getaddrinfo(host, None, 0, TCP)
    except (OSError, UnicodeError) as error:
        if isinstance(error, OSError) and error.errno in (EMFILE, ENFILE):
            raise
        reason = error.strerror if isinstance(error, OSError) else str(error)
        bare, colon, port = host.rpartition(":")
        hint = "name an address of this machine, such as 127.0.0.1 or ::1 (ip addr lists them)"
        if colon and port.isdecimal():
            hint = f"name the host without a port: --host {bare}"
        raise AddressUnavailable(f"host {host!r} does not resolve: {reason}", hint=hint) from None
    found: dict[tuple[int, str, int], None] = {}
    for family, _, _, _, sockaddr in answers:
        if family in (AF_INET, AF_INET6):
            scope = sockaddr[-1] if family == AF_INET6 else 0
            found[int(family), str(sockaddr[0]), int(scope)] = None
    return list(found)
