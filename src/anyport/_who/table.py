"""The socket table of this network namespace, from the best source that it can be had from."""

import _socket
import os
from errno import EACCES, EAFNOSUPPORT, EMFILE, ENFILE, ENOENT, ENOSYS, EPERM, EPROTONOSUPPORT

from anyport._linux.row import ROWS
from anyport._linux.sock_diag import TCPF_ALL, TCPF_BOUND, TCPF_LISTEN, made_of_sockets, numbers_in
from anyport._linux.socket import SO_COOKIE, mark
from anyport.errors import ResourceLimit, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from anyport._linux.row import Row, RowMaker
    from anyport._occupant import Occupant

ALL, WITHOUT_PEER, LISTENING = TCPF_ALL, TCPF_BOUND, TCPF_LISTEN
# What a sandbox says of netlink, or a kernel without sock_diag.  Any other failure may be over the next time, and
# /proc/net instead would lack what is bound only, without a word.
_REFUSED = (EPERM, EACCES, EAFNOSUPPORT, EPROTONOSUPPORT, ENOENT, ENOSYS)


def rows(protocol: str, ranges: "Sequence[range]" = (), states: int = ALL) -> "list[Row]":
    """Return the sockets in these states with a local port in these ranges (none: with any).

    For UDP, which knows no listening, LISTENING means WITHOUT_PEER.

    From sock_diag, or where that is refused (by some sandboxes) from /proc/net, which shows no bound-only TCP socket.
    Unsupported where there is neither, or the kernel gives no whole answer; ResourceLimit without a descriptor.
    """
    return made(protocol, ranges, states, ROWS)


def made(protocol: str, ranges: "Sequence[range]", states: int, maker: "RowMaker") -> "list[Any]":
    """Make of the sockets that `rows` has what `maker` makes of them, at once."""
    try:
        found = made_of_sockets(protocol, ranges, states if protocol == "tcp" else ALL, maker)
    except OSError as error:
        if error.errno in (EMFILE, ENFILE):
            raise ResourceLimit.of(error, "the socket table can't be read") from None
        if error.errno not in _REFUSED:
            raise _unreadable(f"sock_diag: {error.strerror or error}", "try again", error) from None
        found = [maker.of(row) for row in _from_proc(protocol, ranges, error)]
    return found if states == ALL else [each for each in found if is_in(each, states)]


def is_in(row: "Row | Occupant", states: int) -> bool:
    """Tell whether it is in one of these states."""
    bound = row.state == "BOUND" and (states == WITHOUT_PEER or row.protocol == "udp")
    return states == ALL or row.state == "LISTEN" or bound


def sockets(protocol: str, port: int = 0, states: int = ALL) -> "list[Row]":
    """Return the sockets in these states with this local port (0: any), as `rows` does for ranges."""
    return rows(protocol, (range(port, port + 1),) if port else (), states)


def servers(protocol: str, port: int = 0) -> "list[Row]":
    """Return the sockets that clients can reach: of TCP those that listen, of UDP all."""
    return sockets(protocol, port, LISTENING if protocol == "tcp" else ALL)


def _from_proc(protocol: str, ranges: "Sequence[range]", error: OSError) -> "list[Row]":
    from anyport._linux import proc_net

    try:
        found = proc_net.sockets(protocol)
    except OSError as other:
        both = f"sock_diag: {error.strerror or error}; /proc/net: {other.strerror or other}"
        raise _unreadable(both, "a sandbox without netlink needs a /proc that shows its sockets", error) from None
    wanted = numbers_in(ranges)
    return found if wanted is None else [row for row in found if row.port in wanted]


def _unreadable(why: str, hint: str, error: OSError) -> Unsupported:
    return Unsupported(f"the socket table can't be read ({why})", hint=hint, errno=error.errno)


def shows_bound_only() -> bool:
    """Tell whether `rows` has TCP sockets that are bound and do not listen; tried with one of our own.

    Linux before 6.8 does not tell them, nor does /proc/net.  Where there is no port left to try it with, netlink and
    the version of the kernel decide.
    """
    sock = None
    try:
        sock = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
        sock.bind(("127.0.0.1", 0))
        cookie = sock.getsockopt(_socket.SOL_SOCKET, SO_COOKIE, 8)
        return any(row.cookie == cookie for row in sockets("tcp", sock.getsockname()[1], WITHOUT_PEER))
    except OSError:
        return _should_show_bound_only()
    finally:
        if sock:
            mark(sock)
            sock.close()


def _should_show_bound_only() -> bool:
    try:
        made_of_sockets("tcp", (range(1, 2),), LISTENING, ROWS)
    except OSError:
        return False
    words = os.uname().release.split(".")
    return all(word.isdecimal() for word in words[:2]) and tuple(map(int, words[:2])) >= (6, 8)
