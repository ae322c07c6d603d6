"""A trial: one bind of a port on every address, to learn whether it is refused."""

import _socket
from _socket import SO_REUSEADDR, SOL_SOCKET
from errno import EAFNOSUPPORT

from anyport._address import TCP, UDP
from anyport._linux.socket import mark


def errno_of_bind(port: int, protocol: str, *, reuse: bool) -> int:
    """0 if the bind succeeds, else its errno, or that of the socket; the port is bound for some microseconds.

    With `reuse` (SO_REUSEADDR) nobody who sets that too is refused meanwhile; but it succeeds over sockets that are
    bound only and have set it.
    """
    kind = TCP if protocol == "tcp" else UDP
    try:
        return _bind(_socket.AF_INET6, kind, port, reuse=reuse)
    except OSError as error:
        if error.errno != EAFNOSUPPORT:
            return error.errno or EAFNOSUPPORT
    try:
        return _bind(_socket.AF_INET, kind, port, reuse=reuse)  # a system without IPv6
    except OSError as error:
        return error.errno or EAFNOSUPPORT


def _bind(family: int, kind: int, port: int, *, reuse: bool) -> int:
    sock = _socket.socket(family, kind)
    try:
        if family == _socket.AF_INET6:
            sock.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, 0)
        if reuse:
            sock.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        sock.bind(("::" if family == _socket.AF_INET6 else "0.0.0.0", port))
    except OSError:
        mark(sock)
        raise
    else:
        return 0
    finally:
        sock.close()
