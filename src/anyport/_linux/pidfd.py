"""pidfd_open(2): a process as a descriptor, which becomes readable when the process has ended.

Its number may be another process's afterwards, the descriptor never is.
"""

import os
import select
import time
from errno import EINVAL, ENOENT, ESRCH

from anyport._clock import poll_time
from anyport._linux import proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

PIDFD_THREAD = os.O_EXCL  # Linux 6.9+


def open_process(pid: int) -> "int | None":
    """Return a descriptor of this process; None if there is none, for the number of a thread, too."""
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        if error.errno not in (ESRCH, EINVAL, ENOENT):  # EINVAL, in newer kernels ENOENT: the number of a thread
            raise
        return None


def open_thread(tid: int) -> int:
    """Return a descriptor of a thread; before Linux 6.9 of its process, which has the same files open nearly always."""
    try:
        return os.pidfd_open(tid, PIDFD_THREAD)
    except OSError as error:
        if error.errno != EINVAL:
            raise
    return os.pidfd_open(int(proc.status(tid, "Tgid")))


def wait(fds: "Iterable[int]", seconds: "float | None" = None) -> bool:
    """Wait until one of these processes has ended, at most so many seconds; return whether one has."""
    end = float("inf") if seconds is None else time.monotonic() + seconds
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    while True:
        if poll.poll(poll_time(end - time.monotonic())):
            return True
        if time.monotonic() >= end:
            return False


def has_ended(fd: int) -> bool:
    """Tell whether the process of this descriptor has ended.

    One whose first thread has ended is called a zombie by /proc, and lives on in its other threads.
    """
    return wait((fd,), 0)
