"""Renaming (--map): a program that insists on its own number finds the held one under it, as a server and a client."""

import _thread
import os
from errno import EAGAIN, EINTR, EINVAL
from fcntl import F_GETFL, fcntl

from anyport._linux import libc, process_vm, rtnetlink, seccomp
from anyport._supervise.passage import errno_of
from anyport._supervise.policy import host_of, is_here_anyway

TYPE_CHECKING = False
if TYPE_CHECKING:
    from anyport._linux.seccomp import Notification


def is_here(address: bytes) -> bool:
    """Tell whether a connect to this address stays on this machine."""
    host = host_of(address)
    if host is None or is_here_anyway(host):
        return host is not None
    try:
        return rtnetlink.is_local(host)
    except OSError:  # no route, or netlink is refused
        return False


class Connections:
    """Connects that are made for the program; they may take a while, and others must not wait for them."""

    def __init__(self, listener: int) -> None:
        self._listener = listener
        self.waiting: dict[int, tuple[int, bytes]] = {}  # by call: descriptor and address

    def make(self, fd: int, address: bytes, call: int, later: int) -> int:
        """Connect this socket; return the errno, or `later` if it may block: the call is answered when that is done."""
        if fcntl(fd, F_GETFL) & os.O_NONBLOCK:
            return errno_of(libc.prepare("connect", fd, address, len(address)))
        self.waiting[call] = os.dup(fd), address
        try:
            _thread.start_new_thread(self._make, (call,))
        except RuntimeError:  # no thread to be had
            os.close(self.waiting.pop(call)[0])
            return EAGAIN
        return later

    def interrupt(self) -> None:
        """Let those who wait hear a signal: a call that is being made hears none but SIGKILL, as soon as one came."""
        for call in list(self.waiting):
            seccomp.answer(self._listener, call, EINTR)

    def resume(self) -> None:
        """Wait again, in a fork, which has no threads, for the same calls; a second connect joins the first."""
        for call in list(self.waiting):
            _thread.start_new_thread(self._make, (call,))

    def _make(self, call: int) -> None:
        fd, address = self.waiting[call]
        errno = errno_of(libc.prepare("connect", fd, address, len(address)))
        try:
            os.close(fd)
            seccomp.answer(self._listener, call, errno)
        except OSError:  # the supervisor was closed meanwhile: then the call has failed
            return
        finally:
            del self.waiting[call]


def write_name(call: "Notification", name: bytes) -> None:
    """Put a name where getsockname(2) would: as much of it as there is room for, and how long it is."""
    room = int.from_bytes(process_vm.read(call.tid, call.args[2], 4), "little", signed=True)
    if room < 0:
        raise OSError(EINVAL, "getsockname")
    if room:
        process_vm.write(call.tid, call.args[1], name[:room])
    process_vm.write(call.tid, call.args[2], len(name).to_bytes(4, "little"))
