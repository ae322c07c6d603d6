"""The supervisor: answers the calls of a program that is trapped, so that it alone passes the hold.

For each call it takes a copy of the program's own socket, copies the address once, makes sure that the call still
waits, and does what `policy` says; `passage` gets the socket past the hold, in a system call of our own.

The states of a `Supervisor`, and what moves it from one to another:

    the doors are shut  -- a process can't be supervised -->  the doors are open (`is_lost`)
           |                                                             |
           +-----------  no process is left that could call  ------------+
                                         |
                                         v
                                  over (`is_over`)

The states of a call:

    received --> its socket is copied --> decided by `policy`
        |              |                          |
        |              | no socket of ours        +--> made for the program: answered with its errno
        |              v                          |
        |        the kernel goes on  <------------+--> a connect takes its time: `mapping` answers it later
        v
    can't be reached (`_lose`): the kernel goes on
"""

import _socket
import os
import select
from errno import EBADF, EFAULT, EINVAL, ENOTSOCK

from anyport._clock import poll_time
from anyport._find.remarks import some
from anyport._linux import libc, pidfd_getfd, proc, process_vm, seccomp, sysctl
from anyport._linux.socket import netns_cookie
from anyport._supervise import mapping
from anyport._supervise.passage import Passage, errno_of
from anyport._supervise.policy import CONNECT, GO_ON, Policy, has_scope, protocol_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Mapping, Sequence

    from anyport._linux.seccomp import Notification
    from anyport._ports import Number
    from anyport.errors import Tell

    Outcome = tuple[int, Number | None]  # errno; the port on which the program can be reached now

_LONGEST_ADDRESS = 128  # struct sockaddr_storage
_MOST_BACKLOG = (1 << 31) - 1
_INT = (1 << 32) - 1
_CAP_NET_BIND_SERVICE = 10  # linux/capability.h
_KERNEL = -1  # in the place of an errno: the kernel goes on with the call


class _BadAddress(Exception):
    """Say that there is no such address as the call names."""

    def __init__(self, errno: int) -> None:
        super().__init__(errno)
        self.errno = errno


class Supervisor:
    """Answer the calls that come from `fd`, the listener, for these held sockets.

    `own` are the ports that stand for a held one.  `is_lost` says that a process could not be supervised, so that the
    door has been open ever since, and `why_lost` why.
    """

    def __init__(
        self, fd: int, held: "Mapping[Number, Sequence[socket]]", own: "Mapping[int, int]", tell: "Tell"
    ) -> None:
        self.fd = fd
        self.is_lost = False
        self.why_lost = ""
        self._passage = Passage(held)
        self._tell = tell
        self._has_own = bool(own)
        self._ports = list(dict.fromkeys(port for _, port in held))
        self._policy = Policy(held, own, sysctl.ip_unprivileged_port_start())
        self._namespace = netns_cookie(next(iter(held.values()))[0])
        calls = {
            "bind": self._bind, "listen": self._listen, "connect": self._connect, "getsockname": self._getsockname,
        }  # fmt: skip
        machine = seccomp.machine()
        self._calls = {number: calls[name] for name, number in machine.calls.items()} if machine else {}
        self._names = mapping.Names(tell)
        seccomp.wake_at_once(fd)
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)

    def wait(self, seconds: "float | None" = 0) -> bool:
        """Wait for a call, and tell whether there is one."""
        found = self._poll.poll(poll_time(seconds))
        return bool(found and found[0][1] & select.POLLIN)

    @property
    def is_over(self) -> bool:
        """Tell whether no process is left that could make a call."""
        return any(event & select.POLLHUP for _, event in self._poll.poll(0))

    def serve(self) -> "Number | None":
        """Answer the call that came; return the port on which the program can be reached because of it now, or None."""
        call = seccomp.receive(self.fd)
        if call is None:
            return None
        try:
            return self._answer(call)
        except OSError as error:
            if error.errno in mapping.OURS:
                seccomp.answer(self.fd, call.id, error.errno)
            else:
                name = _name_of(call.tid)
                if seccomp.is_waiting(self.fd, call.id):  # else the process is gone, which is what failed
                    self._lose(call, name, error)
            return None

    def serve_all(self) -> None:
        """Answer all calls until no process is left that could make one; a fork of who did it before may go on so."""
        while not self.is_over:
            if self.wait(self.rest):
                self.serve()
            self.tidy()

    @property
    def rest(self) -> "float | None":
        """Return the seconds after which `tidy` is due; None if there is nothing to be tidied."""
        return self._passage.rest

    def tidy(self) -> None:
        """Undo what several SO_REUSEPORT sockets of the program leave behind, as soon as that is possible."""
        self._passage.tidy()

    def close(self) -> None:
        """Stop answering: from now on the calls that would be trapped fail with ENOSYS."""
        os.close(self.fd)

    def _answer(self, call: "Notification") -> "Number | None":
        errno, number = self._do(call)
        # The copy of the socket is closed by now: else one that the program closes next would still be open.
        if errno == _KERNEL:
            seccomp.let_continue(self.fd, call.id)
        else:
            seccomp.answer(self.fd, call.id, errno)
        return number

    def _do(self, call: "Notification") -> "Outcome":
        try:
            sock = _copy_of(call.tid, call.args[0] & _INT)
        except OSError as error:
            if error.errno not in (EBADF, ENOTSOCK):
                raise
            return _KERNEL, None  # which says the same
        try:
            protocol = protocol_of(sock.family, sock.type, sock.proto)
            if not protocol or netns_cookie(sock) != self._namespace:
                return _KERNEL, None
            return self._calls[call.nr](call, sock, protocol)
        except _BadAddress as error:
            return error.errno, None
        finally:
            sock.close()

    def _bind(self, call: "Notification", sock: "socket", protocol: str) -> "Outcome":
        step = self._policy.bind(protocol, _address_of(call))
        bind = libc.prepare("bind", sock.fileno(), step.address, len(step.address))
        may = not step.needs_privilege or _may_bind_low_ports(call.tid)
        if not self._is_waiting(call) or not may:  # in this order: what was seen in /proc is the caller's if it waits
            return _KERNEL, None  # which refuses it, and knows better than we in which order it looks for errors
        if step.number is None:
            return errno_of(bind), None
        errno = self._passage.let_in(sock, step.number, bind, has_scope=has_scope(step.address))
        return errno, step.number if protocol == "udp" and not errno else None

    def _listen(self, call: "Notification", sock: "socket", protocol: str) -> "Outcome":
        is_listening = bool(sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_ACCEPTCONN))
        step = self._policy.listen(protocol, sock.getsockname()[1], is_listening=is_listening)
        backlog = min(call.args[1] & _INT, _MOST_BACKLOG)  # the kernel takes it for unsigned
        if step.number is None or not self._is_waiting(call):
            return _KERNEL, None
        errno = self._passage.let_in(sock, step.number, lambda: sock.listen(backlog))
        return errno, None if errno else step.number

    def _connect(self, call: "Notification", sock: "socket", protocol: str) -> "Outcome":
        step = self._policy.connect(protocol, _address_of(call))
        if step.action != CONNECT or not mapping.is_here(step.address) or not self._is_waiting(call):
            return _KERNEL, None
        errno = mapping.connect(sock.fileno(), step.address)
        return _KERNEL if errno is None else errno, None

    def _getsockname(self, call: "Notification", sock: "socket", protocol: str) -> "Outcome":
        step = self._policy.getsockname(protocol, libc.getsockname(sock.fileno()))
        if step.action == GO_ON:
            return _KERNEL, None
        errno = self._names.write(call, step.address, lambda: self._is_waiting(call))
        return _KERNEL if errno is None else errno, None

    def _is_waiting(self, call: "Notification") -> bool:
        """Tell, once socket and memory were had, whether the call still waits: then they are those of its thread."""
        return seccomp.is_waiting(self.fd, call.id)

    def _lose(self, call: "Notification", name: str, error: OSError) -> None:
        """Let a call go on that can't be made for its program, by the door, which stays open from now on."""
        if not self.is_lost:
            self.is_lost = True
            self.why_lost = error.strerror or str(error)
            self._passage.stay_open()
            ports = some(self._ports)
            text = f"process {call.tid} ({name}) can't be supervised: {self.why_lost}"
            own = ", and it goes on with its own number" if self._has_own else ""
            self._tell(
                "warning",
                f"{text}{own}; from now on whoever sets SO_REUSEADDR may take {ports} where it does not listen",
                "it hides itself (PR_SET_DUMPABLE, set-uid), or was not started by us any more",
            )  # fmt: skip
        seccomp.let_continue(self.fd, call.id)


def _address_of(call: "Notification") -> bytes:
    """Return a copy of the address that the call names; raise _BadAddress with EINVAL or EFAULT as the kernel would."""
    length = call.args[2] & _INT
    if length > _LONGEST_ADDRESS:
        raise _BadAddress(EINVAL)
    try:
        return process_vm.read(call.tid, call.args[1], length) if length else b""
    except OSError as error:
        if error.errno != EFAULT:
            raise
        raise _BadAddress(EFAULT) from None


def _copy_of(tid: int, fd: int) -> "socket":
    copy = pidfd_getfd.copy(tid, fd)
    try:
        return _socket.socket(fileno=copy)
    except OSError:  # no socket
        os.close(copy)
        raise


def _name_of(tid: int) -> str:
    from anyport._occupant import printable  # which no program needs that can be supervised

    return printable(proc.comm(tid))


def _may_bind_low_ports(tid: int) -> bool:
    """Tell whether the thread has CAP_NET_BIND_SERVICE itself, in our user namespace; not if /proc can't tell."""
    if not proc.is_ours():  # there the number is another thread's
        return False
    try:
        if os.readlink(f"/proc/{tid}/ns/user") != os.readlink("/proc/self/ns/user"):
            return False
        return bool(int(proc.status(tid, "CapEff"), 16) >> _CAP_NET_BIND_SERVICE & 1)
    except OSError:  # it is gone
        return False
