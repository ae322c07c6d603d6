"""The passage: a socket of the program past its hold, in a system call that we make for it.

There are two ways.  Who has CAP_NET_RAW takes the first: the kernel compares two sockets only if they are bound to the
same interface or one of them to none (net/ipv4/inet_connection_sock.c, inet_bind_conflict).  So the hold is moved to an
interface that does not exist, and the program's socket to lo, for the time of the call.  Nearly all others are bound to
no interface, and meet the hold as before; only one that is bound to an interface could come in.

The second is the hold's door.  For the microseconds that it is open, whoever sets SO_REUSEADDR could come in.

Either way the call is made again, for a while, when one who came in was in its way: most are gone in a moment.  If
only sockets that were let in are seen there, the program is in its own way, and is told so after the first tries.

Rules for whoever edits it: what is opened is shut again in a `finally`, whatever the call did; the socket's options are
as before when its program sees it again; and nothing is waited for while a door is open, or a hold is elsewhere.
"""

import _socket
import os
import time
from _socket import SO_REUSEADDR, SO_REUSEPORT, SOL_SOCKET
from errno import EADDRINUSE

from anyport._hold.door import forget_reuseport, open_door, shut_door
from anyport._linux.socket import LOOPBACK, SO_BINDTOIFINDEX
from anyport._who.table import servers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable, Mapping, Sequence

    from anyport._linux.row import Row
    from anyport._ports import Number

_NOWHERE = 0x7FFFFFFF  # the index of an interface that there never is: they are counted from 1
_TRIES = 50  # about half a millisecond, in which nearly all who came in by chance are gone again
_ROUNDS = 3  # of tries, without anybody to be seen
_MOST = 1000  # sockets of the program that are remembered, before those are forgotten that do not listen any more
_NOBODY, _OURS, _STRANGERS = "nobody", "ours", "strangers"  # who has a number
_PATIENCE = 0.2  # seconds, for one whom the kernel has let wait before it could go
_LOOK = 0.25  # seconds between two looks whether the last of several SO_REUSEPORT sockets is closed


class Passage:
    """Lets sockets in, one call at a time; `held` are the sockets that hold each number."""

    def __init__(self, held: "Mapping[Number, Sequence[socket]]") -> None:
        self._held = held
        self._has_interfaces = _may_change_interface()
        self._stays_open = False
        self._let_in: dict[Number, set[int]] = {number: set() for number in held}  # inodes
        self._marked: set[Number] = set()  # the kernel lets others of the user in who set SO_REUSEPORT
        self._next_look = 0.0

    def let_in(self, sock: "socket", number: "Number", call: "Callable[[], object]", *, has_scope: bool = False) -> int:
        """Make this call of a socket that is to pass the hold; return its errno.  Its options are then as before.

        `has_scope` says that the call itself binds it to an interface: a bind to a link-local address (ipv6(7)).
        """
        end, rounds = time.monotonic() + _PATIENCE, 0
        while True:
            for _ in range(_TRIES):
                errno = self._try(sock, number, call, has_scope=has_scope)
                if not errno:
                    self._remember(sock, number)
                if errno != EADDRINUSE:
                    return errno
            seen = self._who_is_there(number)
            rounds += seen == _NOBODY
            if seen == _OURS or self._stays_open or rounds == _ROUNDS or time.monotonic() > end:
                return EADDRINUSE
            os.sched_yield()

    def _remember(self, sock: "socket", number: "Number") -> None:
        """Know this socket again in the kernel's table: to look for it among a large tree's would take too long."""
        known = self._let_in[number]
        if len(known) >= _MOST:
            known.intersection_update(_inodes(number))  # what does not listen yet is let in, and remembered, once more
        known.add(os.fstat(sock.fileno()).st_ino)

    def _who_is_there(self, number: "Number") -> str:
        seen = _inodes(number)
        if not seen:
            return _NOBODY
        return _OURS if seen <= self._let_in[number] else _STRANGERS

    def _try(self, sock: "socket", number: "Number", call: "Callable[[], object]", *, has_scope: bool) -> int:
        """Try once; a socket with SO_REUSEPORT may be one of several on one address, among which the kernel shares.

        The kernel takes them for a group only if they have the same interface and the option when they come in.  For
        TCP it also remembers the option, and lets others of the user in past the hold (forget_reuseport).  For UDP it
        puts IPv6 sockets that have it behind all others, where a hold on [::] gets what is meant for them.  So the
        first one comes in without it, and only those after it with it; but not IPv4's of UDP, where neither is true,
        and a program for the group may be attached to the first one right after its bind.
        """
        shared = sock.getsockopt(SOL_SOCKET, SO_REUSEPORT)
        if not shared:
            return self._pass(sock, number, call, has_scope=has_scope)
        if number[0] == "udp" and sock.family == _socket.AF_INET:
            return self._beside(sock, number, call)
        sock.setsockopt(SOL_SOCKET, SO_REUSEPORT, 0)
        errno = self._pass(sock, number, call, has_scope=has_scope)
        sock.setsockopt(SOL_SOCKET, SO_REUSEPORT, shared)
        if errno == EADDRINUSE:
            errno = self._beside(sock, number, call)
            if not errno and number[0] == "tcp":
                self._marked.add(number)
        return errno

    def stay_open(self) -> None:
        """Open all doors for good."""
        self._stays_open = True
        for hold in self._held.values():
            open_door(hold)

    @property
    def rest(self) -> "float | None":
        """Return the seconds after which `tidy` is due; None if there is nothing to be tidied."""
        return max(0.0, self._next_look - time.monotonic()) if self._marked else None

    def tidy(self) -> None:
        """Undo what several SO_REUSEPORT sockets of the program leave behind, once the last of them is closed."""
        if self.rest != 0:
            return
        for number in [each for each in self._marked if not _rows(each)]:
            self._forget(number)
        self._next_look = time.monotonic() + _LOOK

    def _forget(self, number: "Number") -> None:
        def bind(sock: "socket", address: "tuple[str, int]") -> None:
            if errno := self._pass(sock, number, lambda: sock.bind(address), has_scope=False):
                raise OSError(errno, "bind")

        forget_reuseport(number[1], bind)
        self._marked.discard(number)

    def _pass(self, sock: "socket", number: "Number", call: "Callable[[], object]", *, has_scope: bool) -> int:
        if self._stays_open or not self._has_interfaces:
            return self._through(sock, number, call)
        is_free = not (has_scope or sock.getsockopt(SOL_SOCKET, SO_BINDTOIFINDEX))
        hold = self._held[number]
        try:
            for each in hold:
                each.setsockopt(SOL_SOCKET, SO_BINDTOIFINDEX, _NOWHERE)
            if is_free:
                sock.setsockopt(SOL_SOCKET, SO_BINDTOIFINDEX, LOOPBACK)
            return errno_of(call)
        finally:
            if is_free:
                sock.setsockopt(SOL_SOCKET, SO_BINDTOIFINDEX, 0)
            for each in hold:
                each.setsockopt(SOL_SOCKET, SO_BINDTOIFINDEX, 0)

    def _beside(self, sock: "socket", number: "Number", call: "Callable[[], object]") -> int:
        """Let it in by SO_REUSEPORT on both, which lets in those who set it and are of the user who made the socket.

        For UDP the hold must be on another interface, to be in no group with it.  Where either can't be, by the door.
        """
        if number[0] == "udp" and not self._has_interfaces:
            return self._through(sock, number, call)
        hold = self._held[number]
        try:
            is_ours = _give(hold, os.fstat(sock.fileno()).st_uid)
        except OSError:  # we may not
            return self._through(sock, number, call)
        options = [(SO_REUSEPORT, 1)] if number[0] == "tcp" else [(SO_BINDTOIFINDEX, _NOWHERE), (SO_REUSEPORT, 1)]
        try:
            _set(hold, options)
            return errno_of(call)
        finally:
            _set(hold, [(option, 0) for option, _ in reversed(options)])
            if not is_ours:
                _give(hold, os.geteuid())

    def _through(self, sock: "socket", number: "Number", call: "Callable[[], object]") -> int:
        """Let it in by the door, which takes SO_REUSEADDR on both."""
        reuse = sock.getsockopt(SOL_SOCKET, SO_REUSEADDR)
        sock.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        try:
            open_door(self._held[number])
            return errno_of(call)
        finally:
            self._shut(number)
            sock.setsockopt(SOL_SOCKET, SO_REUSEADDR, reuse)

    def _shut(self, number: "Number") -> None:
        if not self._stays_open:
            shut_door(self._held[number])


def _give(sockets: "Sequence[socket]", owner: int) -> bool:
    """Make sockets this user's, which for the kernel they are then; return whether they were before."""
    if all(os.fstat(each.fileno()).st_uid == owner for each in sockets):
        return True
    for each in sockets:
        os.fchown(each.fileno(), owner, -1)
    return False


def _set(sockets: "Sequence[socket]", options: "Sequence[tuple[int, int]]") -> None:
    for each in sockets:
        for option, value in options:
            each.setsockopt(SOL_SOCKET, option, value)


def errno_of(call: "Callable[[], object]") -> int:
    """Make a call; return 0, or why it failed."""
    try:
        call()
    except OSError as error:
        return error.errno or 0
    return 0


def _may_change_interface() -> bool:
    """Tell whether we may bind a socket to another interface than before, or to none again."""
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


def _inodes(number: "Number") -> "set[int]":
    return {row.inode for row in _rows(number)}


def _rows(number: "Number") -> "list[Row]":
    try:
        return servers(*number)
    except OSError:  # netlink is refused
        return []
