"""The background process of `anyport hold`: it has the sockets, waits for an end, and does nothing else.

It is a fork of the command, in a session of its own, with no other descriptor of the command's than the sockets, so
that `$(anyport hold)` does not wait for it.  /proc calls it by COMM; that is how `--release` knows it.
"""

import os
import time

from anyport import _background
from anyport._hold.door import open_door
from anyport._linux import pidfd, signal
from anyport._linux.proc import comm, socket_inodes, socket_owners
from anyport._who.table import sockets as sockets_on
from anyport.errors import AnyportError, ResourceLimit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable, Sequence
    from typing import NoReturn

COMM = "anyport-hold"  # at most 15 bytes (proc_pid_comm(5))
_PATIENCE = 5.0  # seconds that a released holder may take to end


def start(
    sockets: "Sequence[socket]", ends: "Sequence[int]", seconds: "float | None"
) -> "tuple[int, Callable[[], None]]":
    """Fork a process that keeps these sockets, with open doors, until one of the descriptors `ends` is readable.

    It ends then, after `seconds`, or when it gets SIGTERM.  It ends at once unless the function that comes with its
    pid is called: so nothing stays held that nobody was told of.  ResourceLimit when there can be no process.
    """
    open_door(sockets)
    until = None if seconds is None else time.monotonic() + seconds
    from_parent, to_child = os.pipe()
    from_child, to_parent = os.pipe()
    try:
        pid = os.fork()
    except OSError as error:
        raise ResourceLimit.of(error, "no process to hold the port") from None
    if not pid:
        _hold(from_parent, to_parent, {sock.fileno() for sock in sockets}, ends, until)
    os.close(from_parent)
    os.close(to_parent)
    is_up = os.read(from_child, 1)  # it is out of our session, and has closed what is ours
    os.close(from_child)
    if not is_up:
        raise AnyportError("the process to hold the port ended at once", hint="`ulimit -a` shows what it may not do")

    def confirm() -> None:
        try:
            os.write(to_child, b"1")
        except BrokenPipeError:
            raise AnyportError("the process that held the port was killed", hint="hold another one") from None
        os.close(to_child)

    return pid, confirm


def _hold(
    from_parent: int, to_parent: int, sockets: "set[int]", ends: "Sequence[int]", until: "float | None"
) -> "NoReturn":
    try:
        signal.be_usual()
        _take_name()
        _background.leave({from_parent, to_parent, *sockets, *ends})
        os.write(to_parent, b"1")
        os.close(to_parent)
        if os.read(from_parent, 1):
            os.close(from_parent)
            pidfd.wait(ends, None if until is None else until - time.monotonic())
    finally:
        os._exit(0)


def _take_name() -> None:
    try:
        fd = os.open("/proc/self/comm", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:  # in some sandboxes: --release won't find us there, a signal will
        return
    os.write(fd, COMM.encode())
    os.close(fd)


def release(port: int) -> "list[int]":
    """End the background processes that hold a port, wait for their end, and return all the ports that they held.

    AnyportError if there is none that we can see, or may end.
    """
    pids = _holders_of(port)
    ports = sorted({each for pid in pids for each in _ports_of(pid)})
    for pid in pids:
        _end(pid, port)
    return ports


def _end(pid: int, port: int) -> None:
    what = f"process {pid}, which holds {port}"
    fd = pidfd.open_process(pid)
    if fd is None:
        return
    try:
        if comm(pid) == COMM and port in _ports_of(pid):  # else it ended, and the number is another process's by now
            signal.pidfd_send_signal(fd, signal.SIGTERM)
            if not pidfd.wait((fd,), _PATIENCE):
                raise _still_there(what)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise AnyportError(f"{what}, can't be ended: {error.strerror}", hint="its user can, and root") from None
    finally:
        os.close(fd)


def _still_there(what: str) -> AnyportError:
    return AnyportError(f"{what}, has not ended within {_PATIENCE:g} s", hint="it may be stopped: kill -CONT, -KILL")


def _holders_of(port: int) -> "list[int]":
    rows = [row for protocol in ("tcp", "udp") for row in sockets_on(protocol, port)]
    owners = socket_owners({row.inode for row in rows})
    found = sorted({pid for each in owners.values() for pid, name in each if name == COMM})
    if not found:
        raise AnyportError(
            f"{port} is not held by `anyport hold`, as far as can be seen",
            hint=f"`anyport who {port}` shows what is using it; `anyport run` holds a port as long as its program runs",
        )
    return found


def _ports_of(pid: int) -> "list[int]":
    inodes = socket_inodes(pid)
    rows = [row for protocol in ("tcp", "udp") for row in sockets_on(protocol)]
    return sorted({row.port for row in rows if row.inode in inodes})
