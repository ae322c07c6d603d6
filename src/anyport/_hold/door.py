"""The door of a hold: whether a program that sets SO_REUSEADDR may bind a port that is held.

A socket that is bound and does not listen keeps its number.  While it has no SO_REUSEADDR nobody else can bind the
number, whatever they set; while it has, whoever sets the option too can, and can listen as well.  The option may be
switched on a socket that is bound already, and takes effect at once (net/ipv4/inet_connection_sock.c compares it at
each bind, and again at listen).  It must never be set before the bind: then two holders get the same number, the kernel
searches half the range only, and for UDP may even give out what another one holds.
"""

import _socket
from _socket import SO_REUSEADDR, SOL_SOCKET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Protocol

    class _Socket(Protocol):
        def setsockopt(self, level: int, option: int, value: int, /) -> None: ...


def open_door(sockets: "Iterable[_Socket]") -> None:
    """Let in whoever sets SO_REUSEADDR."""
    for sock in sockets:
        sock.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)


def shut_door(sockets: "Iterable[_Socket]") -> None:
    """Let nobody in.  A socket that was let in and does not listen yet will be refused to (EADDRINUSE)."""
    for sock in sockets:
        sock.setsockopt(SOL_SOCKET, SO_REUSEADDR, 0)


# Where a plain socket can be bound while the door is open, unless a server listens there.
_PLACES = (("::", 0), ("::", 1), ("0.0.0.0", None), ("127.255.255.254", None), ("::1", 1))


def forget_reuseport(port: int, bind: "Callable[[_socket.socket, Any], object]" = _socket.socket.bind) -> None:
    """Undo what a visitor with SO_REUSEPORT leaves on a TCP port; the door must be open, or `bind` do without.

    The kernel remembers at the port that a socket with the option was bound to it (net/ipv4/inet_connection_sock.c,
    inet_csk_update_fastreuse), and would let others of the same user in who set it, even past a shut door.  Binding a
    socket with SO_REUSEADDR alone makes it forget.  A server that listens everywhere with both options can't be helped:
    it lets others in anyway, as it asked for.
    """
    for host, v6only in _PLACES:
        try:
            sock = _socket.socket(_socket.AF_INET if v6only is None else _socket.AF_INET6, _socket.SOCK_STREAM)
        except OSError:  # no IPv6 here
            continue
        try:
            if v6only is not None:
                sock.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, v6only)
            sock.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
            bind(sock, (host, port))
        except OSError:
            continue
        else:
            return
        finally:
            sock.close()
