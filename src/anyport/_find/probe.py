"""The probe: a real bind of a candidate on every wanted address, family and protocol.

The bind is the only truth.  It is made without SO_REUSEADDR, for with it a port that somebody merely holds looks
unused, and bind(0) searches only half of the ephemeral range.  The one exception are leftovers, see `refusal`.
"""

import _socket
import os
from errno import EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT, EINVAL, EMFILE, ENFILE

from anyport._address import AF_INET, AF_INET6, TCP, Endpoint, may_overlap
from anyport._linux.socket import mark, netns_cookie
from anyport.errors import AddressUnavailable, ResourceLimit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_socket_class = _socket.socket
_IPPROTO_IPV6: int = _socket.IPPROTO_IPV6
_IPV6_V6ONLY: int = _socket.IPV6_V6ONLY


class _Absent(Exception):
    """This machine does not have the endpoint's address or family."""

    def __init__(self, endpoint: Endpoint, error: OSError) -> None:
        super().__init__(endpoint, error)
        self.endpoint = endpoint
        self.error = error


class Probe:
    """Tries candidates on a fixed set of endpoints.

    It tells what was true at the moment of the bind and promises nothing for later: the socket is closed again.  With
    `holding` it is not: what is bound stays so, in `held`, until it is let go.
    """

    __slots__ = ("_holding", "_spare", "endpoints", "held")

    def __init__(self, endpoints: "tuple[Endpoint, ...]", *, holding: bool = False) -> None:
        self.endpoints = endpoints
        self._holding = holding
        self.held: dict[int, list[_socket.socket]] = {}
        # A socket whose bind was refused stays unbound and can try the next number: 2.7 us a number instead of 11.
        self._spare: dict[Endpoint, _socket.socket] = {}

    def namespace(self) -> int:
        """Return the cookie of the network namespace in which the probes are made."""
        while True:
            endpoint = self.endpoints[0]
            try:
                sock = self._spare[endpoint] = self._take(endpoint)
            except _Absent as absent:
                self._go_without(absent)
            else:
                return netns_cookie(sock)

    def refusal(self, port: int, *, leftovers: bool = False) -> "tuple[Endpoint, int] | None":
        """Return the first endpoint that refused the port, and the errno; None if it is unused on all of them.

        With `leftovers` a port counts as unused if no process has any of its sockets any more (TIME_WAIT and other
        closing states): a server that sets SO_REUSEADDR can bind it, one that does not can not.
        """
        while True:
            try:
                for endpoint in self.endpoints:
                    refused = self._bind(endpoint, port)
                    if refused and not (leftovers and refused == EADDRINUSE and self._only_leftovers(endpoint, port)):
                        self.let_go(port)
                        return endpoint, refused
            except _Absent as absent:
                self.let_go(port)
                self._go_without(absent)
            else:
                return None

    def draw(self) -> "tuple[_socket.socket, int]":
        """Return a socket that the kernel has bound to a number of its choice on the first endpoint, and the number.

        The other endpoints are still to be tried.  OSError (EADDRINUSE) when the ephemeral range is exhausted.
        """
        while True:
            endpoint = self.endpoints[0]
            try:
                sock = self._take(endpoint)
                try:
                    sock.bind(endpoint.sockaddr(0))
                except OSError as error:
                    sock.close()
                    _raise_if_absent(endpoint, error)
                    raise
            except _Absent as absent:
                self._go_without(absent)
            else:
                return sock, sock.getsockname()[1]

    def let_go(self, port: int) -> None:
        """Close what is held of a port."""
        for sock in self.held.pop(port, ()):
            sock.close()

    def take_held(self) -> "dict[int, list[_socket.socket]]":
        """Return what is held, in the order of the endpoints for each port; from now on it is the caller's to close."""
        held, self.held = self.held, {}
        return held

    def close(self) -> None:
        while self._spare:
            sock = self._spare.popitem()[1]
            mark(sock)
            sock.close()
        for port in list(self.held):
            self.let_go(port)

    def _bind(self, endpoint: Endpoint, port: int) -> int:
        sock = self._take(endpoint)
        try:
            sock.bind(endpoint.sockaddr(port))
        except OSError as error:
            self._spare[endpoint] = sock
            _raise_if_absent(endpoint, error)
            return error.errno or 0
        self._keep(sock, port)
        return 0

    def _keep(self, sock: "_socket.socket", port: int) -> None:
        if self._holding:
            self.held.setdefault(port, []).append(sock)
        else:
            sock.close()

    def _take(self, endpoint: Endpoint) -> "_socket.socket":
        if endpoint in self._spare:
            return self._spare.pop(endpoint)
        try:
            sock = _socket_class(endpoint.family, endpoint.kind, 0)
        except OSError as error:
            _raise_if_absent(endpoint, error)
            raise ResourceLimit.of(error, "no socket can be opened") from None
        if endpoint.family == AF_INET6:
            # Whatever net.ipv6.bindv6only says: "::" means both families, as most servers bind it.
            sock.setsockopt(_IPPROTO_IPV6, _IPV6_V6ONLY, 0)
        return sock

    def _only_leftovers(self, endpoint: Endpoint, port: int) -> bool:
        """Tell whether a server with SO_REUSEADDR can bind here and no process has a socket on this port.

        The bind alone would not tell: it succeeds over a port that is held with SO_REUSEADDR as well.
        """
        if endpoint.kind != TCP or not self._nobody_has(endpoint, port):
            return False
        sock = self._take(endpoint)
        try:
            sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
            sock.bind(endpoint.sockaddr(port))
            # Shut at once: two that bind with the option set get the same number, set it back, and are both refused
            # by what they then see.
            sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 0)
        except OSError:
            sock.close()
            return False
        self._keep(sock, port)
        return not self._holding or self._nobody_has(endpoint, port)

    def _nobody_has(self, endpoint: Endpoint, port: int) -> bool:
        """Tell whether the kernel shows sockets on this port, but none of a process: leftovers, and what we hold.

        False where netlink is refused, for what can't be seen is not called unused.
        """
        from anyport._linux.sock_diag import sockets

        try:
            rows = sockets("tcp", port)
        except OSError:
            return False
        ours = {os.fstat(sock.fileno()).st_ino for sock in self.held.get(port, ())}
        return bool(rows) and not any(
            row.inode and row.inode not in ours and may_overlap(row.address, endpoint.host, v6only=row.v6only)
            for row in rows
        )

    def _go_without(self, absent: _Absent) -> None:
        """Leave out what this machine does not have: IPv6 of everywhere, an address found by name next to others."""
        missing, error = absent.endpoint, absent.error
        if missing.everywhere:
            rest = [Endpoint(AF_INET, missing.kind, "0.0.0.0")]
        elif missing.optional and sum(other.kind == missing.kind for other in self.endpoints) > 1:
            rest = []
        else:
            raise AddressUnavailable(
                f"{missing.host} can't be bound on this machine: {error.strerror} (errno {error.errno})",
                hint=_where_to_look(missing, error),
                errno=error.errno,
            ) from None
        index = self.endpoints.index(missing)
        self.endpoints = (*self.endpoints[:index], *rest, *self.endpoints[index + 1 :])


def _where_to_look(missing: Endpoint, error: OSError) -> str:
    if error.errno == EINVAL:
        return f"a link-local address needs its interface: {missing.host}%eth0"
    return f"`ip addr` lists this machine's addresses{'; IPv6 may be switched off' if ':' in missing.host else ''}"


def _raise_if_absent(endpoint: Endpoint, error: OSError) -> None:
    # EINVAL: a link-local IPv6 address without the interface it belongs to (ipv6(7)).
    if error.errno in (EADDRNOTAVAIL, EAFNOSUPPORT, EINVAL):
        raise _Absent(endpoint, error) from None


def endpoints(hosts: "Sequence[str]", kinds: "Sequence[int]") -> "tuple[Endpoint, ...]":
    """Return every address that the hosts mean (none: everywhere), for every protocol.

    AddressUnavailable if one has none.
    """
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
