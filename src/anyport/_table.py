"""The socket table of this network namespace, from the best source that it can be had from."""

import _socket

from anyport._linux.sock_diag import TCPF_ALL, TCPF_BOUND, TCPF_LISTEN, sockets_in
from anyport._linux.socket import SO_COOKIE, mark
from anyport.errors import Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from anyport._row import Row

ALL, WITHOUT_PEER, LISTENING = TCPF_ALL, TCPF_BOUND, TCPF_LISTEN
_NAMES = {WITHOUT_PEER: ("LISTEN", "BOUND"), LISTENING: ("LISTEN",)}


def rows(protocol: str, ranges: "Sequence[range]" = (), states: int = ALL) -> "list[Row]":
    """The sockets in these states with a local port in these ranges (none: with any).

    From sock_diag, or where that is refused (by some sandboxes) from /proc/net, which shows no bound-only TCP socket.
    Unsupported where there is neither.
    """
    try:
        found = sockets_in(protocol, ranges, states if protocol == "tcp" else ALL)
    except OSError as error:
        found = _from_proc(protocol, ranges, error)
    return found if states == ALL else [row for row in found if row.state in _NAMES[states]]


def sockets(protocol: str, port: int = 0, states: int = ALL) -> "list[Row]":
    """The same for one port (0: any)."""
    return rows(protocol, (range(port, port + 1),) if port else (), states)


def servers(protocol: str, port: int = 0) -> "list[Row]":
    """The sockets that clients can reach: of TCP those that listen, of UDP all."""
    return sockets(protocol, port, LISTENING if protocol == "tcp" else ALL)


def _from_proc(protocol: str, ranges: "Sequence[range]", error: OSError) -> "list[Row]":
    from anyport._linux import proc_net

    try:
        found = proc_net.sockets(protocol)
    except OSError as other:
        raise Unsupported(
            f"the socket table can't be read (sock_diag: {error.strerror or error}; "
            f"/proc/net: {other.strerror or other})",
            hint="a sandbox without netlink needs a /proc that shows its sockets",
            errno=error.errno,
        ) from None
    return [row for row in found if any(row.port in part for part in ranges)] if ranges else found


def shows_bound_only() -> bool:
    """Whether `rows` has TCP sockets that are bound and do not listen; tried with one of our own.

    Linux before 6.8 does not tell them, nor does /proc/net.  False, too, if there is no port left to try it with.
    """
    sock = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    try:
        sock.bind(("127.0.0.1", 0))
        cookie = sock.getsockopt(_socket.SOL_SOCKET, SO_COOKIE, 8)
        port = sock.getsockname()[1]
        return any(row.cookie == cookie for row in sockets("tcp", port, WITHOUT_PEER))
    except OSError:
        return False
    finally:
        mark(sock)
        sock.close()
