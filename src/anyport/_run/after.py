"""After the program: what stays when it ended and left a daemon that has the port (`nginx`, `ssh -f`).

The hold has to stay as long as the daemon may come back to its port: to reload, or to fork another worker.
"""

import os
import select

from anyport import _streams
from anyport._linux import proc, signal
from anyport._linux.sock_diag import servers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Numbers = Sequence[tuple[str, int]]


def has_port(numbers: "Numbers", pids: "Iterable[int]", ours: "set[int]") -> "set[int]":
    """Those of these processes that have one of the ports."""
    try:
        owners = proc.socket_owners(_inodes(numbers, ours), pids)
    except OSError:  # netlink is refused in some sandboxes
        return set()
    return {pid for each in owners.values() for pid, _ in each}


def stay_behind(numbers: "Numbers", pids: "set[int]", ours: "set[int]", keep: "set[int]") -> None:
    """Fork a process that keeps the hold (descriptors `keep`) until `stay` is over; the caller is free to end."""
    if os.fork():
        return
    try:
        _streams.leave(keep)
        stay(numbers, pids, ours)
    finally:
        os._exit(0)


def stay(numbers: "Numbers", pids: "set[int]", ours: "set[int]") -> None:
    """Wait until no process has a socket on these ports that one of `pids` had or made."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # from here on we end like any other process
    inodes = set[int]()
    while True:
        owners = proc.socket_owners(_inodes(numbers, ours))
        inodes = {inode for inode, each in owners.items() if inode in inodes or any(pid in pids for pid, _ in each)}
        pids = {pid for inode in inodes for pid, _ in owners[inode]}
        if not pids:
            return
        _wait_for_an_end(pids)


def _wait_for_an_end(pids: "Iterable[int]") -> None:
    """Until one of them ends; at once if one has."""
    poll = select.poll()
    opened: list[int] = []
    try:
        for pid in pids:
            try:
                opened.append(os.pidfd_open(pid))
            except ProcessLookupError:
                return
            poll.register(opened[-1], select.POLLIN)
        poll.poll()
    finally:
        for fd in opened:
            os.close(fd)


def _inodes(numbers: "Numbers", ours: "set[int]") -> "set[int]":
    return {row.inode for number in numbers for row in servers(*number)} - ours
