"""pidfd_open(2) and pidfd_getfd(2): another process's descriptor as one of our own."""

import os
from errno import EINVAL

from anyport._linux import proc
from anyport._linux.libc import syscall

PIDFD_THREAD = os.O_EXCL  # Linux 6.9+
_SYS_pidfd_getfd = 438  # on every architecture


def copy(tid: int, fd: int) -> int:
    """Return a copy of a thread's descriptor, close-on-exec; EPERM for a process that we may not trace."""
    thread = open_thread(tid)
    try:
        return getfd(thread, fd)
    finally:
        os.close(thread)


def getfd(thread: int, fd: int) -> int:
    """Return a copy of the descriptor of a thread that is named by a pidfd."""
    return syscall("pidfd_getfd", _SYS_pidfd_getfd, thread, fd, 0)


def open_thread(tid: int) -> int:
    """Return a pidfd of a thread; before Linux 6.9 of its process, which has the same descriptors nearly always."""
    try:
        return os.pidfd_open(tid, PIDFD_THREAD)
    except OSError as error:
        if error.errno != EINVAL:
            raise
    return os.pidfd_open(int(proc.status(tid, "Tgid")))
