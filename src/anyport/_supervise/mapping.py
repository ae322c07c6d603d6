"""Renaming (--map): a program that insists on its own number finds the held one under it, as a server and a client."""

import os
from errno import EALREADY, EINPROGRESS, EINVAL, EMFILE, ENFILE, ENOENT, ENOMEM, ESRCH
from fcntl import F_GETFL, F_SETFL, fcntl

from anyport._linux import libc, proc, process_vm, rtnetlink
from anyport._supervise.passage import errno_of
from anyport._supervise.policy import host_of, is_here_anyway

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from anyport._linux.seccomp import Notification
    from anyport.errors import Tell

OURS = (EMFILE, ENFILE, ENOMEM)  # errors of the supervisor, not of the program or its system; soon over


def is_here(address: bytes) -> bool:
    """Tell whether a connect to this address stays here; OSError if there is no descriptor to ask with."""
    host = host_of(address)
    if host is None or is_here_anyway(host):
        return host is not None
    try:
        return rtnetlink.is_local(host)
    except OSError as error:  # no route, or netlink is refused
        if error.errno in OURS:
            raise
        return False


def connect(fd: int, address: bytes) -> "int | None":
    """Connect a socket for the program; return the errno, or None if the kernel is to go on with the program's call.

    Nobody may wait here: so it is only begun if the socket is one that blocks.  The kernel, to which the socket is one
    that connects already, then waits in the program's own call, and looks at no address any more
    (net/ipv4/af_inet.c, __inet_stream_connect).  There signals and time limits have the effect that they have without
    us, but for the errno of a time limit (SO_SNDTIMEO), which is EALREADY then.  While it is begun the socket is
    non-blocking, for other threads of the program too.
    """
    begin = libc.prepare("connect", fd, address, len(address))
    flags = fcntl(fd, F_GETFL)
    if flags & os.O_NONBLOCK:
        return errno_of(begin)
    fcntl(fd, F_SETFL, flags | os.O_NONBLOCK)
    errno = errno_of(begin)
    fcntl(fd, F_SETFL, flags)
    return None if errno in (EINPROGRESS, EALREADY) else errno  # EALREADY: a signal made the program call once more


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
            if error.errno in OURS:
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
