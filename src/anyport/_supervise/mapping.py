"""Renaming (--map): a program that insists on its own number finds the held one under it, as a server and a client."""

import _thread
import os
from errno import EAGAIN, EINTR, EINVAL, EMFILE, ENFILE, ENOENT, ENOMEM, ESRCH
from fcntl import F_GETFL, fcntl

from anyport._linux import libc, proc, process_vm, rtnetlink, seccomp
from anyport._supervise.passage import errno_of
from anyport._supervise.policy import host_of, is_here_anyway

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from anyport._find.remarks import Tell
    from anyport._linux.seccomp import Notification


def is_here(address: bytes) -> bool:
    """Whether a connect to this address stays on this machine."""
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
        """Connect this socket: the errno, or `later` if it may block; then the call is answered when that is done."""
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
        """In a fork, which has none of the threads: wait for the same again; a second connect joins the first."""
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


class Names:
    """Tell the program its own number, in its memory, where getsockname(2) would tell the held one."""

    def __init__(self, tell: "Tell") -> None:
        self._tell = tell
        self._has_told = False

    def write(self, call: "Notification", name: bytes, is_waiting: "Callable[[], bool]") -> "int | None":
        """Put a name where the call wants it; return the errno, or None if the kernel has to say what it knows.

        The memory is opened and the room in it read before the question whether the call still waits, and written
        after it: so it is nobody else's.
        """
        try:
            memory = _memory_of(call.tid)
        except OSError as error:
            if error.errno in (EMFILE, ENFILE, ENOMEM):
                raise
            if is_waiting():
                self._cannot(call.tid, error)
            return None
        try:
            return errno_of(lambda: _write(memory, call, name, is_waiting))
        finally:
            os.close(memory)

    def _cannot(self, tid: int, error: OSError) -> None:
        if not self._has_told:
            self._has_told = True
            text = f"the memory of process {tid} can't be written (/proc/{tid}/mem): {error.strerror or error}"
            hint = "a sandbox whose /proc is its own and writable lets it find its number"
            self._tell("warning", f"{text}; so getsockname tells the held port, not the program's own number", hint)


def _memory_of(tid: int) -> int:
    if not proc.is_ours():  # there the number is another thread's
        raise OSError(ENOENT, "/proc is not mounted here, or is another pid namespace's")
    return process_vm.open_to_write(tid)


def _write(memory: int, call: "Notification", name: bytes, is_waiting: "Callable[[], bool]") -> None:
    """As much of the name as there is room for, and how long it is."""
    room = int.from_bytes(process_vm.read(call.tid, call.args[2], 4), "little", signed=True)
    if not is_waiting():
        raise OSError(ESRCH, "getsockname")
    if room < 0:
        raise OSError(EINVAL, "getsockname")
    if room:
        process_vm.write(memory, call.args[1], name[:room])
    process_vm.write(memory, call.args[2], len(name).to_bytes(4, "little"))
