"""The Unix socket that a portserver listens on: made anew, or handed over by systemd."""

import os
import socket
import stat
from contextlib import contextmanager
from errno import EADDRINUSE, ECONNREFUSED, ENOENT

from anyport._hold import activation
from anyport._linux.flock import flock
from anyport._portserver import wire
from anyport.errors import AnyportError, InvalidSelection, PortServerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator

_BACKLOG = 4096  # the kernel takes at most net.core.somaxconn of it
_PATIENCE = 5.0  # seconds for the lock of a folder
_OWNER_ONLY = 0o177  # a umask


def inherited() -> "list[socket.socket]":
    """Return the sockets on which systemd, or whoever else started us, listens for us (sd_listen_fds(3)).

    The variables are removed, so that nobody we start believes that they are meant for him.
    """
    count, pid = os.environ.pop("LISTEN_FDS", ""), os.environ.pop("LISTEN_PID", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if not count.isdecimal() or pid != str(os.getpid()):
        return []
    return [_checked(fd) for fd in range(activation.FIRST, activation.FIRST + int(count))]


def _checked(fd: int) -> socket.socket:
    try:
        found = socket.socket(fileno=fd)
    except OSError as error:
        raise AnyportError(f"descriptor {fd} of LISTEN_FDS is no socket: {error.strerror}", hint=_UNIT) from None
    listens = found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if (found.family, found.type, listens) != (socket.AF_UNIX, socket.SOCK_STREAM, 1):
        raise AnyportError(f"descriptor {fd} of LISTEN_FDS is no Unix stream socket that listens", hint=_UNIT)
    os.set_inheritable(fd, False)  # noqa: FBT003 - the flag's name is the function's
    found.setblocking(False)  # noqa: FBT003
    return found


_UNIT = "the unit wants ListenStream= with a path or @name, and Accept=no"


def listen(address: str) -> socket.socket:
    """Return a socket that listens here, with a path for this user only; PortServerError if that can't be had."""
    path = wire.sun_path(address)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path[:1] == b"\0":
            sock.bind(path)
            sock.listen(_BACKLOG)
        else:
            _listen_at_path(sock, path)
        sock.setblocking(False)  # noqa: FBT003
    except OSError as error:
        sock.close()
        raise error if isinstance(error, PortServerError) else _refused(address, error) from None
    return sock


def _refused(address: str, error: OSError) -> PortServerError:
    what = f"can't listen at {address}: {error.strerror} (errno {error.errno})"
    if error.errno == EADDRINUSE:
        path = wire.sun_path(address)
        is_server = path[:1] == b"\0" or _is_socket(path)
        who = "a server listens there already" if is_server else "something else than a socket is there"
        return PortServerError(what, hint=f"{who}; name another address with --socket", errno=error.errno)
    hint = "the folder must be there, and yours to write to" if error.errno == ENOENT else "name another address"
    return PortServerError(what, hint=hint, errno=error.errno)


def _listen_at_path(sock: socket.socket, path: bytes) -> None:
    """Bind to a path, over what a server that was killed left there, and listen."""
    with _folder_locked(path):
        if _is_left_over(path):
            os.unlink(path)
        before = os.umask(_OWNER_ONLY)
        try:
            sock.bind(path)
        finally:
            os.umask(before)
        sock.listen(_BACKLOG)


@contextmanager
def _folder_locked(path: bytes) -> "Generator[None]":
    """Keep others from replacing or removing a leftover, or binding without listening yet, which looks like one."""
    folder = os.open(os.path.dirname(path) or b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if not flock(folder, _PATIENCE):
            raise _locked(path)
        yield
    finally:
        os.close(folder)


def _locked(path: bytes) -> PortServerError:
    name = os.path.dirname(wire.written(path)) or "."
    return PortServerError(
        f"the folder {name} has been locked by another process for {_PATIENCE:g} s",
        hint=f"`fuser -v {name}` shows who has it open; or name a path in a folder of your own",
    )


def _is_socket(path: bytes) -> bool:
    try:
        return stat.S_ISSOCK(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


def _is_left_over(path: bytes) -> bool:
    """Tell whether this is a socket on which nobody listens."""
    if not _is_socket(path):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.setblocking(False)  # noqa: FBT003 - a full queue is an answer, too
        return sock.connect_ex(path) == ECONNREFUSED


def close(sock: socket.socket, *, remove: bool) -> None:
    """Listen no longer; `remove` the path that we made, if no other server listens there by now."""
    path = os.fsencode(sock.getsockname())
    sock.close()
    if not remove or path[:1] in (b"", b"\0"):
        return
    try:
        with _folder_locked(path):
            if _is_left_over(path):
                os.unlink(path)
    except OSError:  # the folder is gone, or locked: whoever serves there next removes it
        return


def check_alone(sockets: "list[socket.socket]", address: "str | None") -> None:
    """Raise InvalidSelection if an address is named, and sockets were handed over, too."""
    if sockets and address is not None:
        raise InvalidSelection(
            f"--socket {address} does not go with sockets from systemd (LISTEN_FDS)", hint="leave one of them out"
        )
