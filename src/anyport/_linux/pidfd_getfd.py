"""pidfd_getfd(2): another process's descriptor as one of our own."""

import os

from anyport._linux.libc import syscall
from anyport._linux.pidfd import open_thread

_SYS_pidfd_getfd = 438  # on every architecture


def pidfd_getfd(pidfd: int, fd: int) -> int:
    """Return a copy of a process's or thread's descriptor, close-on-exec; EPERM for one that we may not trace."""
    return syscall("pidfd_getfd", _SYS_pidfd_getfd, pidfd, fd, 0)


def copy(tid: int, fd: int) -> int:
    """Return a copy of the descriptor of the thread that has this number now."""
    thread = open_thread(tid)
    try:
        return pidfd_getfd(thread, fd)
    finally:
        os.close(thread)
