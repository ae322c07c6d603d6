"""pidfd_open(2): a process as a descriptor, which becomes readable when the process has ended.

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
import select
import time
from errno import EINVAL, ENOENT, ESRCH

from anyport._clock import poll_time
from anyport._linux import proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

PIDFD_THREAD = os.O_EXCL  # Linux 6.9+


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
        if error.errno != EINVAL or not proc.is_ours():  # in another /proc the number is another thread's
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
