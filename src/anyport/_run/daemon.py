"""After the program: what stays when it ended and left a daemon (`nginx`, `ssh -f`, `redis-server --daemonize yes`).

The hold has to stay until the daemon has its port, and as long as it may come back to it: to reload, or to fork another
worker.
"""

import os
import time

from anyport import _background
from anyport._linux import pidfd, proc, signal
from anyport._who.table import servers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from anyport._supervise.supervisor import Supervisor

    Numbers = Sequence[tuple[str, int]]

_PATIENCE = 30.0  # seconds in which what is left of the tree may begin to listen
_LOOK = 0.1  # seconds between two looks until then


def with_port(numbers: "Numbers", pids: "Iterable[int]", ours: "set[int]") -> "set[int]":
    """Return those of these processes that have a socket on one of the ports."""
    return {pid for each in proc.socket_owners(_inodes(numbers, ours), pids).values() for pid, _ in each}


def stay_behind(numbers: "Numbers", pids: "set[int]", ours: "set[int]", keep: "set[int]") -> None:
    """Fork a process that keeps the hold (descriptors `keep`) until `stay` is over; the caller is free to end."""
    _fork(keep, lambda: stay(numbers, pids, ours))


def supervise_behind(supervisor: "Supervisor", keep: "set[int]") -> None:
    """Fork a process that keeps the hold and answers the trapped calls as long as anybody makes some."""
    _fork(keep | {supervisor.fd}, lambda: supervise(supervisor))


def supervise(supervisor: "Supervisor") -> None:
    """Answer the trapped calls as long as anybody may make some: unanswered they would fail."""
    signal.be_usual()
    supervisor.serve_all()


def _fork(keep: "set[int]", then: "Callable[[], None]") -> None:
    """Call `then` in another process; return when that has left our session, whose end may be the end of others."""
    left, leaving = os.pipe()
    if os.fork():
        os.close(leaving)
        os.read(left, 1)  # nothing comes: it closes what it does not keep
        os.close(left)
        return
    try:
        _background.leave(keep)
        then()
    finally:
        os._exit(0)


def stay(numbers: "Numbers", pids: "set[int]", ours: "set[int]") -> None:
    """Wait until no process has a socket on these ports that one of `pids`, or a descendant of theirs, had or made.

    As long as none has had one, wait for that, but not longer than half a minute.  `ours` are the hold's own inodes.
    """
    signal.be_usual()
    inodes = set[int]()
    limit = time.monotonic() + _PATIENCE
    while True:
        was_alive = any(map(_is_alive, pids))  # before the look for others, which one of these may just be starting
        # A daemon forks twice: then its parent, which we know, has made the session, and is gone.
        pids |= {child for pid in pids for child in proc.descendants(pid)} | proc.in_sessions(pids)
        owners = proc.socket_owners(_inodes(numbers, ours))
        had = bool(inodes)
        inodes = {inode for inode, each in owners.items() if inode in inodes or any(pid in pids for pid, _ in each)}
        if inodes:
            pids = {pid for inode in inodes for pid, _ in owners[inode]}
            _wait_for_an_end(pids, inodes)
        elif had or time.monotonic() > limit or not (was_alive or any(map(_is_alive, pids))):
            return
        else:
            time.sleep(_LOOK)


def _is_alive(pid: int) -> bool:
    found = proc.stat(pid)
    return found is not None and not found.has_ended


def _wait_for_an_end(pids: "set[int]", inodes: "set[int]") -> None:
    """Wait until one of these processes, which have these sockets, ends; return at once if one has, or has none."""
    opened: list[int] = []
    try:
        for pid in pids:
            fd = pidfd.open_process(pid)
            if fd is None:
                return
            opened.append(fd)
        if {pid for each in proc.socket_owners(inodes, pids).values() for pid, _ in each} == pids:
            pidfd.wait(opened)
    finally:
        for fd in opened:
            os.close(fd)


def _inodes(numbers: "Numbers", ours: "set[int]") -> "set[int]":
    try:
        return {row.inode for number in numbers for row in servers(*number)} - ours
    except OSError:  # then nothing is seen, and the hold ends
        return set()
