"""The door of a hold: whether a program that sets SO_REUSEADDR may bind a port that is held.

A socket that is bound and does not listen keeps its number.  While it has no SO_REUSEADDR nobody else can bind the
number, whatever they set; while it has, whoever sets the option too can, and can listen as well.  The option may be
switched on a socket that is bound already, and takes effect at once (net/ipv4/inet_connection_sock.c compares it at
each bind, and again at listen).  It must never be set before the bind: then two holders get the same number, the kernel
searches half the range only, and for UDP may even give out what another one holds.
"""

from _socket import SO_REUSEADDR, SOL_SOCKET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Protocol

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
