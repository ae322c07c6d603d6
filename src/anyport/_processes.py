"""Whose life a hold hangs on: the process that called the command, and how to see it end.

`port=$(anyport hold || exit 1)` and `anyport hold | tee f` run the command in a subshell, a fork of the shell that ends
at once.  "The caller" is the nearest ancestor that has called exec: the shell itself, make, or whatever it is.
"""

import os

from anyport._linux import pidfd, proc
from anyport._ports import whole_number
from anyport.errors import AnyportError, InvalidSelection

INIT = 1  # which takes in orphans, and never ends
_TRIES = 5
_HINT = "name the process with --while PID, or a time with --for 10m"


def caller() -> int:
    """Return a descriptor that is readable when the caller has ended; AnyportError if the caller can't be seen."""
    return _caller(_HINT)[1]


def caller_pid() -> int:
    """Return the caller's pid, for a portserver that is to give it a port."""
    pid, fd = _caller("`--no-portserver` does without one")
    os.close(fd)
    return pid


def _caller(hint: str) -> "tuple[int, int]":
    for _ in range(_TRIES):
        pid = _nearest_execed(os.getppid())
        if pid is None:  # a parent ended meanwhile, and we have another one now
            continue
        if pid == INIT and not is_of_inits_session(0):
            break
        fd = _open(pid)
        if fd is not None and _nearest_execed(os.getppid()) == pid:  # the number was not used again in between
            return pid, fd
        if fd is not None:
            os.close(fd)
    raise AnyportError("the process that called can't be seen: it has ended, or /proc does not show it", hint=hint)


def is_of_inits_session(pid: int) -> bool:
    """Tell whether init is the shell of a container that runs this process (0: ours), and not only takes in orphans."""
    try:
        return os.getsid(pid) == os.getsid(INIT)
    except OSError:
        return False


def _nearest_execed(pid: int) -> "int | None":
    while pid > 0:
        found = proc.stat(pid)
        if found is None:
            return None
        if found.has_execed:
            return pid
        pid = found.parent
    return None  # the parent is in another pid namespace


def check_pid(value: object) -> int:
    """Return the pid that a number or its text means; InvalidSelection for all else."""
    pid = whole_number(value)
    if pid is None or pid < 1:
        raise InvalidSelection(f"{value!r} is no pid", hint="in a shell $$ is its own pid")
    return pid


def process(pid: int) -> int:
    """Return a descriptor that is readable when this process has ended; InvalidSelection if there is none."""
    fd = _open(pid) if 0 < pid < 1 << 22 else None
    if fd is not None and not pidfd.has_ended(fd):
        return fd
    if fd is not None:
        os.close(fd)
    raise InvalidSelection(f"there is no process with pid {pid}", hint="in a shell $$ is its own pid")


def _open(pid: int) -> "int | None":
    try:
        return pidfd.open_process(pid)
    except OSError as error:
        raise AnyportError(
            f"process {pid} can't be watched (pidfd_open): {error.strerror} (errno {error.errno})",
            hint="this needs Linux 5.3, and a sandbox that allows it",
        ) from None
