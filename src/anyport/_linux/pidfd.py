"""pidfd_open(2) and pidfd_getfd(2): a process as a descriptor, and another process's descriptor as one of our own.

A number is a process's own only until the process has ended and somebody took note of it; what is looked up by number
and then done by number may be done to another one.  A descriptor stays the process's.  So there are four safe ways:

1. It is our child, and not waited for yet: the number is its own.
2. By descriptor: open it, make sure that it is the one that is meant, and act through it.
3. Look at all by number, ask whether the one that was meant is still there, and act through what was opened meanwhile.
   The question is the last step before the act.
4. Nothing is done: what was seen is told, or a guess is made that may be wrong without harm.

| who | uses the number of | for | safe by |
|---|---|---|---|
| `_supervise.supervisor` | the thread that calls | its socket, memory, capabilities | 3: does the call still wait? |
| `_supervise.enter`, `_doctor.rehearsal`, `_run.program` | the child before its exec | its descriptor, its end | 1 |
| `_run.watch`, `_run.signals` | the program | signals, its end | 1: nothing is sent once it was waited for |
| `_run.watch`, `_testing.tree` | descendants | signals that end them | 2: is it still a descendant? |
| `_run.run` | the program, the runner's child | SIGKILL | 2: is the runner still its parent?; the runner: 1 |
| `_run.detach` | the runner | SIGTERM | 1 |
| `_run.signals` | who sent a signal | whether the program got it by itself | 4 |
| `_run.readiness`, `_run.conflict`, `_who.tree` | descendants | which sockets are theirs | 4 |
| `_run.daemon` | who has the port | when to look again | 2: has it the port still? |
| `_hold.holder` | who holds a port | SIGTERM | 2: does it hold that port still? |
| `_processes` | the caller, or the one named with --while | its end | 2: is it still the caller? |
| `_serve.owners` | whoever a port is for | its end, its user | 2: the descriptor is asked last |
| `_ledger.owner` | whoever has a claim | whether it lives | with the time of its start |
| `_who`, all messages | whoever has a socket | names | 4 |
"""

import os
from errno import EINVAL

from anyport._linux import proc
from anyport._linux.libc import syscall

PIDFD_THREAD = os.O_EXCL  # Linux 6.9+
_SYS_pidfd_getfd = 438  # on every architecture


def descendants(pid: int) -> "list[int]":
    """Return a descriptor of each living descendant of a process; OSError where there are none to be had."""
    opened: dict[int, int] = {}
    still_there = set[int]()
    try:
        for each in proc.descendants(pid):
            try:
                opened[each] = os.pidfd_open(each)
            except ProcessLookupError:
                continue
        still_there.update(proc.descendants(pid))  # what is not was perhaps another process when it was opened
    finally:
        for each in opened.keys() - still_there:
            os.close(opened.pop(each))
    return list(opened.values())


def copy(tid: int, fd: int) -> int:
    """A copy of a thread's descriptor, close-on-exec; EPERM for a process that we may not trace."""
    thread = _open(tid)
    try:
        return syscall("pidfd_getfd", _SYS_pidfd_getfd, thread, fd, 0)
    finally:
        os.close(thread)


def _open(tid: int) -> int:
    """A pidfd of the thread; before Linux 6.9 of its process, which has the same descriptors nearly always."""
    try:
        return os.pidfd_open(tid, PIDFD_THREAD)
    except OSError as error:
        if error.errno != EINVAL or not proc.is_ours():  # in another /proc the number is another thread's
            raise
    return os.pidfd_open(int(proc.status(tid, "Tgid")))
