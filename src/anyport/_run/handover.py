"""Hand-overs: what becomes of the hold when the program is started, and while it runs.

- shared: the hold stays, its door open; a program that sets SO_REUSEADDR binds and listens underneath it.
- inherited: the program gets the very sockets, listening, by socket activation.
- released: the hold is shut until the program's exec, which closes it.
- supervised: the hold stays, its door shut; the program's own calls are let through (`supervisor.py`).
"""

import os

from anyport._address import PROTOCOL_NAMES, TCP
from anyport._hold.door import open_door, shut_door
from anyport._run.plan import INHERITED, RELEASED, SHARED, SUPERVISED
from anyport._supervise.enter import CALLS, CALLS_TO_RENAME
from anyport.errors import HandOverUnavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Mapping

    from anyport._find.found import Answer
    from anyport._run.program import Child

_BACKLOG = 4096  # the kernel cuts it to net.core.somaxconn


class HandOver:
    """Hand held ports over to a program.

    `how` is the hand-over of the last start, `own` are the program's own numbers and the port for which each stands.
    """

    def __init__(self, found: "Answer", labels: "tuple[str, ...]", own: "Mapping[int, int]") -> None:
        self.ports = found.ports
        self.hosts, self.protocols = found.hosts, found.protocols
        self.numbers = [(protocol, port) for port in found.ports for protocol in found.protocols]
        names = labels or tuple(map(str, found.ports))
        self._sockets = {name: found.sockets[port] for name, port in zip(names, found.ports, strict=True)}
        self.own = {number: found.ports[index] for number, index in own.items()}
        self.how = SHARED

    def prepare(self, child: "Child", how: str) -> None:
        """Make everything ready for the start of the program."""
        self.how = how
        if how == SHARED:
            open_door(self._all())
        elif how == INHERITED:
            self._listen()
            child.inherited = {sock.fileno(): name for name, each in self._sockets.items() for sock in each}
        else:
            shut_door(self._all())
            if how == SUPERVISED:
                child.trapped = CALLS + CALLS_TO_RENAME if self.own else CALLS

    def forked(self) -> None:
        """Let go what the program alone is to have: its process has all the sockets now, until it calls exec."""
        if self.how in (INHERITED, RELEASED):
            self.close()

    def share(self) -> None:
        """Make ready, before the start, for a program that can't be supervised: the port is shared with it instead."""
        self.how = SHARED
        open_door(self._all())

    @property
    def by_number(self) -> "dict[tuple[str, int], list[socket]]":
        """Return the sockets that hold each protocol and port."""
        found: dict[tuple[str, int], list[socket]] = {}
        for sock in self._all():
            found.setdefault((PROTOCOL_NAMES[sock.type], sock.getsockname()[1]), []).append(sock)
        return found

    @property
    def inodes(self) -> "set[int]":
        """Return the inodes of the hold, by which the socket table knows it."""
        return {os.fstat(sock.fileno()).st_ino for sock in self._all()}

    @property
    def descriptors(self) -> "set[int]":
        """Return the descriptors of the hold: none when nothing is held any more."""
        return {sock.fileno() for sock in self._all()}

    def close(self) -> None:
        """End the hold."""
        for sock in self._all():
            sock.close()
        self._sockets = {}

    def _all(self) -> "list[socket]":
        return [sock for each in self._sockets.values() for sock in each]

    def _listen(self) -> None:
        for sock in self._all():
            if sock.type == TCP:
                try:
                    sock.listen(_BACKLOG)
                except OSError as error:
                    raise HandOverUnavailable(
                        f"the socket for the program can't listen: {error.strerror} (errno {error.errno})",
                        hint="--hand-over shared lets the program make its own",
                    ) from None
                open_door([sock])  # once it listens this lets nobody in; the next server can have the port right after
