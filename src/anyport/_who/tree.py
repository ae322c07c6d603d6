"""A tree of processes, and the sockets that it has."""

import os
import sys

from anyport._linux import pidfd
from anyport._processes import process
from anyport.errors import AnyportError, InvalidSelection, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from anyport._occupant import Occupant

_OTHER_PROC = "that takes the /proc of this pid namespace"


class Tree:
    """A process and its descendants, and the sockets that they have, or have had since we look."""

    def __init__(self, pid: int) -> None:
        if sys.platform != "linux":
            raise Unsupported("a tree of processes can be seen on Linux only", hint="wait without it")
        self.pid = pid
        self._inodes: set[int] = set()
        try:
            self._fd = process(pid)
        except InvalidSelection:  # it has ended already
            self._fd = -1
        else:
            self._check()

    def _check(self) -> None:
        from anyport._linux.proc import is_ours, may_look_into

        is_shown = is_ours() and os.path.exists(f"/proc/{self.pid}") and may_look_into(self.pid)
        if not (is_shown or self.has_ended()):
            self.close()
            raise _unseen(self.pid, "only its user and root may" if is_ours() else _OTHER_PROC)

    def look(self) -> None:
        from anyport._linux.proc import tree_inodes

        if not self.has_ended():  # its number may be another process's by now
            self._inodes |= tree_inodes(self.pid)

    def has(self, each: "Occupant") -> bool:
        return each.inode in self._inodes

    def hidden(self) -> int:
        """Return one of these processes whose sockets can't be seen, such as a set-uid program, or 0."""
        from anyport._linux.proc import descendants, may_look_into, stat

        pids = [] if self.has_ended() else [self.pid, *descendants(self.pid)]
        # Nobody may look into one that has ended, and it has nothing.
        unseen = (pid for pid in pids if not may_look_into(pid) and (found := stat(pid)) and not found.has_ended)
        return next(unseen, 0)

    def check_others(self, others: "Iterable[Occupant]") -> None:
        """Raise AnyportError if one of these sockets, which it is not seen to have, may be its own all the same."""
        from anyport._linux.proc import socket_owners

        inodes = {each.inode for each in others if each.inode}
        if inodes and (pid := self.hidden()) and inodes - socket_owners(inodes).keys():
            raise _unseen(pid, "root can")

    def has_ended(self) -> bool:
        """Tell whether the process itself has ended: then it can't be told any more what it started."""
        return self._fd < 0 or pidfd.has_ended(self._fd)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)


def _unseen(pid: int, why: str) -> AnyportError:
    return AnyportError(f"the sockets of process {pid} can't be seen", hint=f"{why}; or wait without it")
