"""The passage: a socket of the program past its hold, in a system call that we make for it.

There are two ways.  Who has CAP_NET_RAW takes the first, which leaves no gap: the kernel compares two sockets only if
they are bound to the same interface or one of them to none (net/ipv4/inet_connection_sock.c, inet_bind_conflict).  So
the hold is moved to an interface that does not exist, and the program's socket to lo, for the time of the call.  All
others are bound to none as a rule, and meet the hold as before.

The second is the hold's door.  For the microseconds that it is open, whoever sets SO_REUSEADDR can come in too; the
call is made again when one of them has just been in its way.
"""

import _socket
import time
from _socket import SO_REUSEADDR, SO_REUSEPORT, SOL_SOCKET
from errno import EADDRINUSE

from anyport._door import forget_reuseport, open_door, shut_door
from anyport._linux.sock_diag import servers
from anyport._linux.socket import LOOPBACK, SO_BINDTOIFINDEX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable, Mapping, Sequence

    from anyport._run.bind_policy import Number

_NOWHERE = 0x7FFFFFFF  # the index of an interface that there never is: they are counted from 1
_TRIES = 100  # through the door: about half a millisecond, for others who came in by chance to be gone again
_LOOK = 0.25  # seconds between two looks whether the last of several SO_REUSEPORT sockets is closed


class Passage:
    """Lets sockets in, one call at a time; `held` are the sockets that hold each number."""

    def __init__(self, held: "Mapping[Number, Sequence[socket]]") -> None:
        self._held = held
        self._has_interfaces = _may_change_interface()
        self._stays_open = False
        self._marked: set[Number] = set()  # the kernel lets others of the user in who set SO_REUSEPORT
        self._next_look = 0.0

    def let_in(self, sock: "socket", number: "Number", call: "Callable[[], object]") -> int:
        """Make this call of a socket that is to pass the hold; its errno.  The socket's options are as before then.

        SO_REUSEPORT is off meanwhile, or the kernel would remember it and let others of the user in past the hold.
        Only where the program has several sockets with it on one address, it can't do without.
        """
        if not (shared := sock.getsockopt(SOL_SOCKET, SO_REUSEPORT)):
            return self._pass(sock, number, call)
        try:
            sock.setsockopt(SOL_SOCKET, SO_REUSEPORT, 0)
            errno = self._pass(sock, number, call)
            if errno == EADDRINUSE:
                sock.setsockopt(SOL_SOCKET, SO_REUSEPORT, 1)
                errno = self._pass(sock, number, call)
                if not errno and number[0] == "tcp":
                    self._marked.add(number)
            return errno
        finally:
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
        def bind(sock: "socket", address: "tuple[str, int]") -> None:
            if errno := self._pass(sock, number, lambda: sock.bind(address)):
                raise OSError(errno, "bind")

        forget_reuseport(number[1], bind)
        self._marked.discard(number)

    def _pass(self, sock: "socket", number: "Number", call: "Callable[[], object]") -> int:
        way = self._past if self._has_interfaces and not self._stays_open else self._through
        return way(sock, number, call)

    def _past(self, sock: "socket", number: "Number", call: "Callable[[], object]") -> int:
        """By interfaces.  A bind may set the socket's own: that of a link-local address (ipv6(7))."""
        hold = self._held[number]
        is_free = not sock.getsockopt(SOL_SOCKET, SO_BINDTOIFINDEX)
        try:
            for each in hold:
                each.setsockopt(SOL_SOCKET, SO_BINDTOIFINDEX, _NOWHERE)
            if is_free:
                sock.setsockopt(SOL_SOCKET, SO_BINDTOIFINDEX, LOOPBACK)
            return errno_of(call)
        finally:
            if is_free and sock.getsockopt(SOL_SOCKET, SO_BINDTOIFINDEX) == LOOPBACK:
                sock.setsockopt(SOL_SOCKET, SO_BINDTOIFINDEX, 0)
            for each in hold:
                each.setsockopt(SOL_SOCKET, SO_BINDTOIFINDEX, 0)

    def _through(self, sock: "socket", number: "Number", call: "Callable[[], object]") -> int:
        """By the door, which takes SO_REUSEADDR on both."""
        reuse = sock.getsockopt(SOL_SOCKET, SO_REUSEADDR)
        errno = EADDRINUSE
        sock.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        try:
            for _ in range(_TRIES):
                open_door(self._held[number])
                errno = errno_of(call)
                self._shut(number)
                if errno != EADDRINUSE:
                    break
            return errno
        finally:
            sock.setsockopt(SOL_SOCKET, SO_REUSEADDR, reuse)

    def _shut(self, number: "Number") -> None:
        if not self._stays_open:
            shut_door(self._held[number])


def errno_of(call: "Callable[[], object]") -> int:
    """Make a call; 0, or why it failed."""
    try:
        call()
    except OSError as error:
        return error.errno or 0
    return 0


def _may_change_interface() -> bool:
    """Whether we may bind a socket to another interface than before, or to none again."""
    sock = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
    try:
        for interface in (_NOWHERE, 0):
            sock.setsockopt(SOL_SOCKET, SO_BINDTOIFINDEX, interface)
    except OSError:
        return False
    else:
        return True
    finally:
        sock.close()


def _is_served(number: "Number") -> bool:
    try:
        return bool(servers(*number))
    except OSError:  # netlink is refused
        return False
