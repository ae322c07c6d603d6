"""Features: what works on this system, each learnt by trying it once, in the way in which `find` and `run` do it.

Who runs us (Docker, a sandbox, an old kernel) is never asked, for it says too little.  What can't be undone, a seccomp
filter, is tried in a child that ends.
"""

import _socket
import os
from _socket import SO_REUSEADDR, SO_REUSEPORT, SOL_SOCKET
from errno import EADDRINUSE, EMFILE, ENFILE
from typing import NamedTuple

from anyport import _portserver
from anyport._doctor import rehearsal
from anyport._find.found import answer
from anyport._find.selection import Selection
from anyport._hold.door import open_door
from anyport._linux import proc, sock_diag
from anyport._portserver.client import reach
from anyport._supervise import enter
from anyport.errors import AnyportError, ResourceLimit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from anyport._find.found import Answer


class Feature(NamedTuple):
    """Whether something works here (None: not tried); if not, why in words, the errno (or 0) and perhaps a way out."""

    name: str
    works: bool | None
    why: str = ""
    errno: int = 0
    hint: str = ""


def features() -> "dict[str, Feature]":
    """Try all features, and return them by name; the portserver is one if the environment names it."""
    found: dict[str, Feature] = {}
    for name, trial in _TRIALS.items():
        if name in _WITHOUT_PORT or found["find"].works:
            found[name] = _tried(name, trial)
        else:
            found[name] = Feature(name, works=None, why="not tried: there is no port to try it with")
    if server := _portserver.address():
        found["portserver"] = _tried("portserver", lambda: reach(server))
    return found


def hand_overs(found: "dict[str, Feature]") -> "list[str]":
    """Return the ways in which `run` can give a program its port here, the best first."""
    needed = {"supervised": "supervised", "shared": "hold tcp", "inherited": "find", "released": "find"}
    return [how for how, name in needed.items() if found[name].works]


def _tried(name: str, trial: "Callable[[], None]") -> Feature:
    try:
        trial()
    except (OSError, AnyportError) as error:
        return _failed(name, error)
    return Feature(name, works=True)


def _failed(name: str, error: "OSError | AnyportError") -> Feature:
    if isinstance(error, AnyportError):
        errno = error.errno if isinstance(error, OSError) else 0
        return Feature(name, works=False, why=str(error), errno=errno or 0, hint=error.hint)
    if error.errno in (EMFILE, ENFILE):
        return _failed(name, ResourceLimit.of(error, "this needs more descriptors than are left"))
    if not error.errno:
        return Feature(name, works=False, why=str(error))
    if name not in _TRAPS:
        return Feature(name, works=False, why=f"{error.strerror} (errno {error.errno})", errno=error.errno)
    hint = LET_TRACE if enter.scope_that_forbids(error) else ""
    return Feature(name, works=False, why=enter.reason(error, "the program"), errno=error.errno, hint=hint)


def _find(*, udp: bool = False) -> "Answer":
    """Do what `find` does, without a claim, and with the port held."""

    def ignore(_kind: str, _message: str, _hint: str) -> None:
        """Leave it to `findings` to say what is to be remarked."""

    return answer(Selection(udp=udp, keep=0), ignore, hold=True)


def _sockets_of(found: "Answer") -> "list[_socket.socket]":
    return [sock for each in found.sockets.values() for sock in each]


def _let_go(found: "Answer") -> None:
    for sock in _sockets_of(found):
        sock.close()


def _try_find() -> None:
    _let_go(_find())


def _try_hold(*, udp: bool) -> None:
    """Try whether a shut hold keeps out who sets SO_REUSEADDR, and an open one lets him in."""
    found = _find(udp=udp)
    visitor = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM if udp else _socket.SOCK_STREAM)
    try:
        visitor.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        place = ("127.0.0.1", found.ports[0])
        try:
            visitor.bind(place)
        except OSError as error:
            if error.errno != EADDRINUSE:
                raise
        else:
            raise OSError("a program with SO_REUSEADDR gets past a hold that is shut")
        open_door(_sockets_of(found))
        visitor.bind(place)
        if not udp:
            visitor.listen(1)
    finally:
        visitor.close()
        _let_go(found)


def _try_reuseport() -> None:
    """Try whether several can listen on one port; past a hold, for its number is at hand."""
    found = _find()
    socks = [_socket.socket(_socket.AF_INET, _socket.SOCK_STREAM) for _ in range(2)]
    try:
        for sock in (*_sockets_of(found), *socks):
            sock.setsockopt(SOL_SOCKET, SO_REUSEPORT, 1)
        for sock in socks:
            sock.bind(("127.0.0.1", found.ports[0]))
            sock.listen(1)
    finally:
        for sock in socks:
            sock.close()
        _let_go(found)


def _try_ipv6() -> None:
    sock = _socket.socket(_socket.AF_INET6, _socket.SOCK_STREAM)
    try:
        sock.bind(("::1", 0))
    except OSError as error:
        if error.errno != EADDRINUSE:  # which says that all ephemeral ports are in use
            raise OSError(error.errno, f"::1 can't be bound: {error.strerror}") from None
    finally:
        sock.close()


def _try_sock_diag() -> None:
    _must_show("a socket that listens is not shown", listens=True)


def _try_bound_only() -> None:
    _must_show("a socket that is bound and does not listen is not shown", listens=False)


def _must_show(complaint: str, *, listens: bool) -> None:
    found = _find()
    try:
        sock = _sockets_of(found)[0]
        if listens:
            sock.listen(1)
        inode = os.fstat(sock.fileno()).st_ino
        if not any(row.inode == inode for row in sock_diag.sockets("tcp", found.ports[0])):
            raise OSError(complaint)
    finally:
        _let_go(found)


def _try_processes() -> None:
    if why := proc.unseen():
        raise OSError(why)


def _try_supervised() -> None:
    found = _find()
    try:
        rehearsal.supervise(found.ports[0], _sockets_of(found))
    finally:
        _let_go(found)


_WITHOUT_PORT = ("find", "ipv6", "processes", "pidfd_getfd", "seccomp")
LET_TRACE = "`sysctl -w kernel.yama.ptrace_scope=1`, or run it as root"
_TRAPS = ("pidfd_getfd", "seccomp", "supervised")
_TRIALS: "dict[str, Callable[[], None]]" = {
    "find": _try_find,
    "hold tcp": lambda: _try_hold(udp=False),
    "hold udp": lambda: _try_hold(udp=True),
    "reuseport": _try_reuseport,
    "ipv6": _try_ipv6,
    "sock_diag": _try_sock_diag,
    "bound-only": _try_bound_only,
    "processes": _try_processes,
    "pidfd_getfd": rehearsal.take_descriptor,
    "seccomp": rehearsal.install_filter,
    "supervised": _try_supervised,
}
