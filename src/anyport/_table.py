"""The socket table of this network namespace, from the best source that it can be had from."""

import _socket

from anyport._linux import proc_net, sock_diag
from anyport._linux.socket import SO_COOKIE, mark
from anyport.errors import Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from anyport._row import Row


def rows(protocol: str, ranges: "Sequence[range]" = (), *, connections: bool = True) -> "list[Row]":
    """The sockets with a local port in these ranges (none: with any); without `connections` those that have no peer.

    From sock_diag, or where that is refused (by some sandboxes) from /proc/net, which shows no bound-only TCP socket.
    Unsupported where there is neither.
    """
    states = sock_diag.TCPF_ALL if connections or protocol == "udp" else sock_diag.TCPF_BOUND
    try:
        found = sock_diag.sockets_in(protocol, ranges, states)
    except OSError as error:
        found = _from_proc(protocol, ranges, error)
    return found if connections else [row for row in found if row.state in ("LISTEN", "BOUND")]


def _from_proc(protocol: str, ranges: "Sequence[range]", error: OSError) -> "list[Row]":
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

    Linux before 6.8 does not tell them, nor does /proc/net.
    """
    sock = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    try:
        sock.bind(("127.0.0.1", 0))
        cookie = sock.getsockopt(_socket.SOL_SOCKET, SO_COOKIE, 8)
        port = sock.getsockname()[1]
        return any(row.cookie == cookie for row in rows("tcp", [range(port, port + 1)], connections=False))
    finally:
        mark(sock)
        sock.close()
