"""Ready: a process of the program's own tree has the port, seen in the socket table and never guessed from a connect.

A connect would find a stranger's server as well, count in a queue, or even connect to itself.  The tree is whatever
descends from this process, which is a subreaper: daemons too stay in it.
"""

from anyport._address import may_overlap, pair
from anyport._find.remarks import some
from anyport._linux import proc
from anyport._linux.proc import inodes_of_tree
from anyport._who.table import servers, sockets
from anyport.errors import AnyportError, NotReady

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from anyport._linux.row import Row

    Numbers = Sequence[tuple[str, int]]  # protocol and port


class Readiness:
    """Remember which of its ports the program does not have yet; one that it had once counts from then on."""

    def __init__(self, numbers: "Numbers") -> None:
        self._missing = list(numbers)
        self._count = len(self._missing)

    @property
    def is_complete(self) -> bool:
        """Tell whether the program has, or has had, each of its ports."""
        return not self._missing

    @property
    def has_begun(self) -> bool:
        """Tell whether the program has had one of its ports at least."""
        return len(self._missing) < self._count

    def has(self, number: "tuple[str, int]") -> None:
        """Take note that the program has this port."""
        self._missing = [each for each in self._missing if each != number]

    def look(self) -> bool:
        """Look at the kernel's table, or raise OSError; tell whether the program has all its ports now."""
        found = {number: rows for number in self._missing if (rows := servers(*number))}
        if found:
            mine = inodes_of_tree()
            self._missing = [
                number for number in self._missing if not any(row.inode in mine for row in found.get(number, ()))
            ]
        return self.is_complete


def too_late(numbers: "Numbers", ports: "list[int]", limit: float) -> NotReady:
    """Return the error for a program that was stopped because it was not ready within so many seconds."""
    message = f"the program was stopped: not listening on {some(ports)} within {limit:g} s; "
    hint = "a longer time-out (--ready-timeout 2m) gives it more time"
    if hidden := unseen(numbers):
        message += f"who listens on {', '.join(hidden)} can't be seen, so it may be the program"
        hint = "a program that hides itself (PR_SET_DUMPABLE, set-uid) can be seen by root; or do not wait for it"
    elif instead := bound_instead():
        message += f"it listens on {', '.join(instead)}"
        hint = "give it the number as an argument: {port} stands for it"
    else:
        message += "it listens on no port at all"
    return NotReady(message, hint=hint)


def blind(error: OSError) -> AnyportError:
    """Return the error for a program that somebody waits for, where the socket table can't be seen."""
    return AnyportError(
        f"whether the program listens can't be seen: {error}",
        hint="without --port-file and --detach that need not be seen",
    )


def bound_instead() -> "list[str]":
    """Return what the tree does have: `tcp 127.0.0.1:8000`, ..."""
    mine = inodes_of_tree()
    try:
        rows = [row for protocol in ("tcp", "udp") for row in servers(protocol) if row.inode in mine]
    except OSError:
        return []
    return sorted({f"{row.protocol} {pair(row.address, row.port)}" for row in rows})


def unseen(numbers: "Numbers") -> "list[str]":
    """Return the servers on these ports whose process can't be seen: it may be one of the tree."""
    try:
        rows = [row for number in numbers for row in servers(*number) if row.state == "LISTEN"]
        owners = proc.socket_owners({row.inode for row in rows})
    except OSError:
        return []
    return [f"{row.protocol} {pair(row.address, row.port)}, uid {row.uid}" for row in rows if row.inode not in owners]


def strangers(numbers: "Numbers", hosts: "Sequence[str]", ours: "set[int]") -> "list[Row]":
    """Return the sockets of others on these ports and hosts: not `ours` (inodes) or the tree's, and no leftovers."""
    try:
        rows = [row for number in numbers for row in sockets(*number)]
    except OSError:  # what can't be seen is no reason for a restart
        return []
    known = {0, *ours, *inodes_of_tree()}
    return [
        row
        for row in rows
        if row.inode not in known and any(may_overlap(row.address, host, v6only=row.v6only) for host in hosts)
    ]
