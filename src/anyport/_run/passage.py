"""The passage: a socket of the program through the shut door of the hold, in a system call that we make for it."""

import time
from _socket import SO_REUSEADDR, SO_REUSEPORT, SOL_SOCKET
from errno import EADDRINUSE

from anyport._door import forget_reuseport, open_door, shut_door
from anyport._linux.sock_diag import servers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable, Mapping, Sequence

    from anyport._run.bind_policy import Number

_LOOK = 0.25  # seconds between two looks whether the last of several SO_REUSEPORT sockets is closed


class Passage:
    """Lets sockets in, one call at a time; `held` are the sockets that hold each number."""

    def __init__(self, held: "Mapping[Number, Sequence[socket]]") -> None:
        self._held = held
        self._stays_open = False
        self._marked: set[Number] = set()  # the kernel lets others of the user in who set SO_REUSEPORT
        self._next_look = 0.0

    def let_in(self, sock: "socket", number: "Number", call: "Callable[[], object]") -> int:
        """Make this call of a socket while the hold's door is open; its errno.

        It takes SO_REUSEADDR on the socket, too.  SO_REUSEPORT is off meanwhile, or the kernel would remember it and
        let others of the user in past the shut door.  Only where the program has several sockets with it on one
        address, it can't do without.
        """
        reuse, shared = sock.getsockopt(SOL_SOCKET, SO_REUSEADDR), sock.getsockopt(SOL_SOCKET, SO_REUSEPORT)
        sock.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        try:
            if not shared:
                return self._through(number, call)
            sock.setsockopt(SOL_SOCKET, SO_REUSEPORT, 0)
            errno = self._through(number, call)
            if errno == EADDRINUSE:
                sock.setsockopt(SOL_SOCKET, SO_REUSEPORT, 1)
                errno = self._through(number, call)
                if not errno and number[0] == "tcp":
                    self._marked.add(number)
            return errno
        finally:
            sock.setsockopt(SOL_SOCKET, SO_REUSEADDR, reuse)
            sock.setsockopt(SOL_SOCKET, SO_REUSEPORT, shared)

    def stay_open(self) -> None:
        """Open all doors for good."""
        self._stays_open = True
        for hold in self._held.values():
            open_door(hold)

    @property
    def rest(self) -> "float | None":
        """Seconds after which `tidy` is due; None if there is nothing to be tidied."""
        return max(0.0, self._next_look - time.monotonic()) if self._marked else None

    def tidy(self) -> None:
        """Undo what several SO_REUSEPORT sockets of the program leave behind, once the last of them is closed."""
        if self.rest != 0:
            return
        for number in [each for each in self._marked if not _is_served(each)]:
            self._forget(number)
        self._next_look = time.monotonic() + _LOOK

    def _forget(self, number: "Number") -> None:
        self._through(number, lambda: forget_reuseport(number[1]))
        self._marked.discard(number)

    def _through(self, number: "Number", call: "Callable[[], object]") -> int:
        hold = self._held[number]
        try:
            open_door(hold)
            return errno_of(call)
        finally:
            if not self._stays_open:
                shut_door(hold)


def errno_of(call: "Callable[[], object]") -> int:
    """Make a call; 0, or why it failed."""
    try:
        call()
    except OSError as error:
        return error.errno or 0
    return 0


def _is_served(number: "Number") -> bool:
    try:
        return bool(servers(*number))
    except OSError:  # netlink is refused
        return False
