"""How a program gets under supervision: its process, between fork and exec, and the runner at the other end of a link.

The child installs the filter and sends the listener over the link; the runner says at the other end when it may go on.
"""

import _socket
import os
import stat
from errno import EACCES, EBUSY, EINVAL, ENOEXEC, ENOSYS, EPERM

from anyport._linux import pidfd, prctl, seccomp, sysctl
from anyport._linux.pidfd_getfd import pidfd_getfd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable, Sequence

_PLAIN, _SUPERVISED = b"p", b"s"  # what the child may be told
_EI_CLASS = 4  # in the ELF header: 1 for 32 bits
_ADMIN_ONLY = 2  # of kernel.yama.ptrace_scope (Documentation/admin-guide/LSM/Yama.rst)
CALLS = ("bind", "listen")
CALLS_TO_RENAME = ("connect", "getsockname")


class SupervisionRefused(OSError):
    """A program can't be supervised, for this system call (`call`) failed with `errno`."""

    def __init__(self, call: str, errno: int) -> None:
        super().__init__(errno, f"{call}: {os.strerror(errno)}")
        self.call = call


def link() -> "tuple[socket, socket]":
    """Return two ends of a link, ours and the child's."""
    return _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)


def enter(end: "socket", names: "Sequence[str]", file: str) -> None:
    """Do, in the child, what the parent says; come back when the program may be started, else never."""
    told = end.recv(1)
    if told == _SUPERVISED:
        try:
            listener = _install(names, file)
        except OSError as error:
            end.send(b"%d" % (error.errno or EINVAL))
        else:
            rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, listener.to_bytes(4, "little"))
            end.sendmsg([b"0"], [rights])
            os.close(listener)
        told = end.recv(1)
    if not told:  # the parent is gone, or does not want it any more
        os._exit(1)


def _install(names: "Sequence[str]", file: str) -> int:
    if is_of_32_bits(file):
        raise OSError(ENOEXEC, file)
    try:
        return seccomp.listen_to(names)
    except OSError as error:  # without CAP_SYS_ADMIN it takes no_new_privs, which would break some programs
        if error.errno != EACCES or gains_privileges(file):
            raise
    prctl.set_no_new_privs()
    return seccomp.listen_to(names)


def is_of_32_bits(file: str) -> bool:
    """Tell whether it is a program whose system calls have other numbers, which are not trapped (elf(5))."""
    try:
        with open(file, "rb") as program:
            head = program.read(_EI_CLASS + 1)
    except OSError:  # it may be executed all the same
        return False
    return head[:4] == b"\x7fELF" and head[_EI_CLASS:] == b"\1"


def gains_privileges(file: str) -> bool:
    """Tell whether this file is set-uid or set-gid, or has capabilities, that whoever starts it does not have."""
    found = os.stat(file)
    if found.st_mode & stat.S_ISUID and found.st_uid != os.geteuid():
        return True
    if found.st_mode & stat.S_ISGID and found.st_mode & stat.S_IXGRP and found.st_gid != os.getegid():
        return True
    try:
        return bool(os.geteuid() and os.getxattr(file, "security.capability"))
    except OSError:  # it has none, or the file system knows of none
        return False


def begin_plain(end: "socket") -> None:
    """Have the child become the program as it is; do nothing if it was killed meanwhile."""
    _tell(end, _PLAIN)


def begin_supervised(end: "socket", pid: int, refused: "Callable[[OSError], None]") -> "int | None":
    """Have the child become the program under supervision; return the listener, or None.

    If that can't be, `refused` is called before the program is started, and may raise an error to prevent that.
    """
    listener: int | None = None
    try:
        take_descriptor(pid, 0)
        _tell(end, _SUPERVISED)
        listener = _received(end)
    except ProcessLookupError:  # it was killed meanwhile, which whoever waits for its end will see
        return None
    except OSError as error:
        refused(error)
    _tell(end, _PLAIN)
    return listener


def take_descriptor(pid: int, fd: int) -> None:
    """Take a copy of a process's descriptor, and close it: the supervisor would have the same error with each socket.

    Raises SupervisionRefused if that can't be, ProcessLookupError if the process is gone.
    """
    call = "pidfd_open"
    try:
        thread = pidfd.open_thread(pid)
        try:
            call = "pidfd_getfd"
            os.close(pidfd_getfd(thread, fd))
        finally:
            os.close(thread)
    except ProcessLookupError:
        raise
    except OSError as error:
        raise SupervisionRefused(call, error.errno or 0) from None


def _tell(end: "socket", what: bytes) -> None:
    try:
        end.send(what)
    except BrokenPipeError:
        return


def _received(end: "socket") -> "int | None":
    """Return the listener that the child sent, or None if it was killed meanwhile."""
    data, ancillary, _, _ = end.recvmsg(16, _socket.CMSG_SPACE(4), _socket.MSG_CMSG_CLOEXEC)
    if ancillary:
        return int.from_bytes(ancillary[0][2], "little")
    if data:
        raise SupervisionRefused("seccomp", int(data))
    return None


def reason(error: OSError, file: str) -> str:
    """Say why a program can't be supervised."""
    known = {
        ("seccomp", EBUSY): "it is under another supervisor already (seccomp), such as that of another `anyport run`",
        ("seccomp", EACCES): f"{file} has privileges of its own (set-uid, file capabilities), which it would lose",
        ("seccomp", ENOEXEC): f"{file} is a program of 32 bits, whose system calls are not trapped",
        ("seccomp", ENOSYS): "this kernel or machine has no seccomp user notification",
        ("seccomp", EINVAL): "this kernel has no seccomp user notification with a listener (Linux 5.9+)",
        ("pidfd_getfd", ENOSYS): "this kernel has no pidfd_getfd (Linux 5.6+)",
    }
    call = error.call if isinstance(error, SupervisionRefused) else ""
    if text := known.get((call, error.errno or 0)):
        return text
    if scope := scope_that_forbids(error):
        return f"kernel.yama.ptrace_scope is {scope}, so it may not be traced"
    return f"{error.strerror or error} (errno {error.errno}): a container or sandbox seems to forbid it"


def scope_that_forbids(error: OSError) -> int:
    """Return the kernel.yama.ptrace_scope that this error comes from; 0 if it comes from elsewhere."""
    scope = _ptrace_scope() if error.errno == EPERM else 0
    return scope if scope >= _ADMIN_ONLY else 0


def _ptrace_scope() -> int:
    try:
        return int(sysctl.read("kernel/yama/ptrace_scope"))
    except (OSError, ValueError):  # no Yama
        return 0
