"""What is known of a port that can't be had: plain values, and how they are written."""

from typing import NamedTuple

from anyport._address import pair

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

UNSEEN = "UNSEEN"
_NOT_ACCEPTED = ("ESTABLISHED", "CLOSE_WAIT", "SYN_RECV", "NEW_SYN_RECV")  # if no process has it
_LEFT_OVER = ("TIME_WAIT", "FIN_WAIT1", "FIN_WAIT2", "LAST_ACK", "CLOSING")  # the same
_MOST = 4  # processes of one socket that a sentence names


def printable(text: str) -> str:
    """Return the text with escapes for what a terminal would act on: a process may call itself anything."""
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


class Process(NamedTuple):
    """A process that has a socket open: its pid, its name (at most 15 bytes) and its command line.

    `command` is empty where it can't be read, and for a process that has overwritten it with nothing.
    """

    pid: int
    name: str
    command: tuple[str, ...] = ()


class Occupant(NamedTuple):
    """A socket that has a port.

    It tells what the kernel showed at one moment, and promises nothing for later.

    `state` is the kernel's name (LISTEN, ESTABLISHED, TIME_WAIT, ...), or BOUND for a socket that is bound and neither
    listens nor is connected, or UNSEEN when a bind was refused though no socket is shown (Linux before 6.8 hides those
    that are bound only).  `remote_address` and `remote_port` belong to connections.  `inode` is 0 for a socket that no
    process has: TIME_WAIT, others that are left over, and connections that are not accepted yet; `uid` and `user` are
    None where the kernel does not tell whose that was.  `seconds_left` belongs to TIME_WAIT, and to FIN_WAIT2 without a
    process.  `interface` is the name of the one that it is bound to.  `processes` holds those that the caller may see,
    which need not be all, or any.
    """

    protocol: str
    address: str
    port: int
    remote_address: str | None = None
    remote_port: int | None = None
    state: str = UNSEEN
    uid: int | None = None
    inode: int = 0
    seconds_left: float | None = None
    v6only: bool = False
    interface: str | None = None
    user: str | None = None
    processes: tuple[Process, ...] = ()

    def __str__(self) -> str:
        return self.told(self.at(pair(self.address, self.port)))

    def at(self, where: str) -> str:
        """Write where it is, with the interface that it is bound to: `127.0.0.1%lo`."""
        return f"{where}%{printable(self.interface)}" if self.interface else where

    def told(self, where: str) -> str:
        """Say it in a sentence: `node (pid 4711, alice) listens on 127.0.0.1`."""
        if self.state == UNSEEN:
            return "a socket that can't be seen"
        if self.state == "LISTEN":
            return f"{self.owner} listens on {where}"
        if self.state == "BOUND":
            return f"{self.owner} is bound to {where}{' and does not listen' if self.protocol == 'tcp' else ''}"
        to = "" if self.remote_address is None else f" to {pair(self.remote_address, self.remote_port or 0)}"
        if self.inode or self.processes:
            return f"{self.owner} has a connection from {where}{to} ({self.state})"
        if self.state in _NOT_ACCEPTED:
            return f"a connection from {where}{to} ({self.state}) that no process has accepted yet"
        left = "" if self.seconds_left is None else f" for {max(0.0, self.seconds_left):.0f} s more"
        return f"{self.state}{left} on {where}, left over from a connection{to}"

    @property
    def is_left_over(self) -> bool:
        """Tell whether no process has it any more, so that it ends by itself.

        Meanwhile a server with SO_REUSEADDR can bind the port if the socket that left it had set that too.
        """
        return self.state in _LEFT_OVER and not (self.inode or self.processes)

    @property
    def owner(self) -> str:
        """Say whose it is: `node (pid 4711, alice)`, or what can be said instead."""
        user = printable(self.user or "") or (None if self.uid is None else f"uid {self.uid}")
        if not self.processes:
            return f"a socket{f' of {user},' if user else ''} whose process can't be seen{',' if user else ''}"
        pids = [str(process.pid) for process in self.processes]
        more = f" and {len(pids) - _MOST} more" if len(pids) > _MOST else ""
        named = f"pid{'s' if len(pids) > 1 else ''} {', '.join(pids[:_MOST])}{more}"
        return f"{printable(self.processes[0].name) or '?'} ({named}{f', {user}' if user else ''})"


class Refusal(NamedTuple):
    """A number that was tried and refused: where, by which errno, why in words, and the sockets that have it.

    `occupants` holds what can be seen; it is empty when the cause is another one, or can't be seen.
    """

    port: int
    protocol: str
    address: str
    errno: int
    reason: str
    occupants: tuple[Occupant, ...]

    def __str__(self) -> str:
        return f"{self.port}/{self.protocol} is {self.reason}"


def sentence(occupants: "Iterable[Occupant]") -> str:
    """Say who has a port, one owner's sockets together: `nginx (pids 7, 8, root) listens on 0.0.0.0, ::`."""
    together: dict[tuple[str, str], list[Occupant]] = {}
    for each in occupants:
        together.setdefault((each.owner, each.state), []).append(each)
    parts = [_part(each) for each in together.values()]
    more = [f"and {len(parts) - _MOST} more"] if len(parts) > _MOST else []
    return "; ".join([*parts[:_MOST], *more])


def _part(alike: "list[Occupant]") -> str:
    first = alike[0]
    if first.state not in ("LISTEN", "BOUND"):
        more = f"; and {len(alike) - 1} more like it" if len(alike) > 1 else ""
        return f"{first.told(first.at(first.address))}{more}"
    addresses = dict.fromkeys(each.at(each.address) for each in alike)
    siblings = f" with {len(alike)} sockets" if len(alike) > len(addresses) else ""
    return f"{first.told(', '.join(addresses))}{siblings}"
