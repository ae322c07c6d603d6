"""pidfd_open(2) and pidfd_getfd(2): another process's descriptor as one of our own."""

import os
from errno import EINVAL

from anyport._linux.libc import syscall
from anyport._linux.sysctl import read_whole

PIDFD_THREAD = os.O_EXCL  # Linux 6.9+
_SYS_pidfd_getfd = 438  # on every architecture


def open_thread(tid: int) -> int:
    """A pidfd of a thread; before Linux 6.9 of its process, which has the same descriptors nearly always."""
    try:
        return os.pidfd_open(tid, PIDFD_THREAD)
    except OSError as error:
        if error.errno != EINVAL:
            raise
    return os.pidfd_open(process_of(tid))


def process_of(tid: int) -> int:
    """The process that a thread belongs to."""
    for line in read_whole(f"/proc/{tid}/status").splitlines():
        name, _, value = line.partition(b":")
        if name == b"Tgid":
            return int(value)
    raise ProcessLookupError(f"/proc/{tid}/status has no Tgid")


def getfd(pidfd: int, fd: int) -> int:
    """A copy of a descriptor, close-on-exec; EPERM for a process that we may not trace."""
    return syscall("pidfd_getfd", _SYS_pidfd_getfd, pidfd, fd, 0)
