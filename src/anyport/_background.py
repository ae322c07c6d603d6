"""Standard streams, which must not become anything else; and leaving them, for a process in the background."""

import os
from errno import EBADF

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def fill() -> "list[int]":
    """Put /dev/null where a standard stream is closed, and say where: else the next socket would take its number."""
    missing: list[int] = []
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError as error:
            if error.errno != EBADF:
                raise
            replace(fd)
            missing.append(fd)
    return missing


def replace(stream: int, path: str = os.devnull, flags: int = os.O_RDWR) -> None:
    """Open a file as this standard stream."""
    fd = os.open(path, flags | os.O_CLOEXEC, 0o666)
    os.dup2(fd, stream)
    if fd != stream:
        os.close(fd)
    else:
        os.set_inheritable(fd, True)  # noqa: FBT003 - the flag's name is the function's


def leave(keep: "Iterable[int]") -> None:
    """Go to the background: a session of our own, no descriptor but these, /dev/null for 0 to 2, no folder in use."""
    os.setsid()
    os.chdir("/")
    for stream in range(3):
        replace(stream)
    first = 3
    for fd in [*sorted(keep), os.sysconf("SC_OPEN_MAX")]:
        os.closerange(first, fd)
        first = fd + 1
