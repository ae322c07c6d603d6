"""seccomp(2), seccomp_unotify(2), linux/seccomp.h and linux/audit.h: system calls that wait for somebody's answer.

The process that calls `listen_to` is under the filter from then on, and so is whatever it starts or becomes.  Each call
that the filter names then waits until whoever reads the listener has answered it.
"""

import os
import struct
from errno import EINVAL, ENOENT, ENOSYS
from fcntl import ioctl

from anyport._linux import bpf
from anyport._linux.libc import syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

SECCOMP_SET_MODE_FILTER = 1
SECCOMP_FILTER_FLAG_SPEC_ALLOW = 1 << 2  # else the program is slower before Linux 5.16
SECCOMP_FILTER_FLAG_NEW_LISTENER = 1 << 3
SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV = 1 << 5  # Linux 5.19+: once it was received, only a fatal signal breaks in
SECCOMP_RET_USER_NOTIF, SECCOMP_RET_ALLOW = 0x7FC00000, 0x7FFF0000
SECCOMP_IOCTL_NOTIF_RECV, SECCOMP_IOCTL_NOTIF_SEND = 0xC0502100, 0xC0182101
SECCOMP_IOCTL_NOTIF_ID_VALID = 0x40082102
SECCOMP_IOCTL_NOTIF_SET_FLAGS = 0x40082104  # Linux 6.6+
SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP = 1
SECCOMP_USER_NOTIF_FLAG_CONTINUE = 1
_NR_AT, _ARCH_AT = 0, 4  # in struct seccomp_data
_X32 = 0x40000000  # __X32_SYSCALL_BIT: the same architecture word, other numbers

_seccomp_notif = struct.Struct("=QIIiI8x6Q")  # id, pid (of the thread), flags, nr, arch, ip, args
_seccomp_notif_resp = struct.Struct("=QqiI")
_NOTHING = bytes(_seccomp_notif.size)  # what is read into has to be zero


class Machine:
    """The numbers of one architecture: AUDIT_ARCH_*, seccomp(2), pidfd_getfd(2) and the calls that can be trapped."""

    def __init__(self, arch: int, seccomp: int, calls: "dict[str, int]") -> None:
        self.arch = arch
        self.seccomp = seccomp
        self.calls = calls


_MACHINES = {
    "x86_64": Machine(0xC000003E, 317, {"bind": 49, "listen": 50, "connect": 42, "getsockname": 51}),
    "aarch64": Machine(0xC00000B7, 277, {"bind": 200, "listen": 201, "connect": 203, "getsockname": 204}),
}


def machine() -> "Machine | None":
    """Return the numbers of this machine; None for one whose numbers are not known."""
    return _MACHINES.get(os.uname().machine)


def trap(arch: int, numbers: "Iterable[int]") -> "list[bpf.Instruction]":
    """Return a filter for which these calls of this architecture wait, and no others; it looks at that first."""
    numbers = list(numbers)
    program: list[bpf.Instruction] = [
        (bpf.BPF_LD_W_ABS, 0, 0, _ARCH_AT),
        (bpf.BPF_JEQ_K, 0, len(numbers) + 2, arch),
        (bpf.BPF_LD_W_ABS, 0, 0, _NR_AT),
        (bpf.BPF_JGE_K, len(numbers), 0, _X32),
    ]
    for left, number in enumerate(reversed(numbers)):
        program.insert(4, (bpf.BPF_JEQ_K, left + 1, 0, number))
    return [*program, (bpf.BPF_RET_K, 0, 0, SECCOMP_RET_ALLOW), (bpf.BPF_RET_K, 0, 0, SECCOMP_RET_USER_NOTIF)]


def listen_to(names: "Iterable[str]") -> int:
    """Put ourselves under a filter that traps these calls; return the listener, for whoever is to answer.

    OSError: EACCES without CAP_SYS_ADMIN and no_new_privs, EBUSY under another listener, ENOSYS and EPERM where seccomp
    is missing or forbidden, EINVAL on an old kernel.
    """
    here = machine()
    if here is None:
        raise OSError(ENOSYS, f"no numbers of system calls are known for {os.uname().machine}")
    code = bpf.Code(trap(here.arch, [here.calls[name] for name in names]))
    flags = SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_SPEC_ALLOW
    for more in (SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, 0):
        try:
            return syscall("seccomp", here.seccomp, SECCOMP_SET_MODE_FILTER, flags | more, code.fprog)
        except OSError as error:
            if error.errno != EINVAL or not more:
                raise
    raise AssertionError("unreachable")


def wake_at_once(listener: int) -> None:
    """Have the reader woken on the caller's processor, which would sleep otherwise, where the kernel knows how."""
    try:
        ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP)
    except OSError as error:
        if error.errno != EINVAL:
            raise


class Notification:
    """A call that waits for its answer; `tid` is the thread's."""

    __slots__ = ("args", "id", "nr", "tid")

    def __init__(self, data: "bytes | bytearray") -> None:
        self.id, self.tid, _, self.nr, _, *self.args = _seccomp_notif.unpack(data)


def receive(listener: int) -> "Notification | None":
    """Return the next call, which must be there; None if its process was killed meanwhile."""
    data = bytearray(_NOTHING)
    try:
        ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, data)
    except OSError as error:
        if error.errno != ENOENT:
            raise
        return None
    return Notification(data)


def is_waiting(listener: int, number: int) -> bool:
    """Tell whether the call with this id still waits: then its thread lives, and what its number opened is its."""
    try:
        ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, number.to_bytes(8, "little"))
    except OSError as error:
        if error.errno != ENOENT:
            raise
        return False
    return True


def answer(listener: int, number: int, errno: int) -> None:
    """Let the call return 0, or fail with this errno; nothing if its process was killed meanwhile."""
    _send(listener, _seccomp_notif_resp.pack(number, 0, -errno, 0))


def let_continue(listener: int, number: int) -> None:
    """Have the kernel carry the call out, as it would have without a filter."""
    _send(listener, _seccomp_notif_resp.pack(number, 0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE))


def _send(listener: int, response: bytes) -> None:
    try:
        ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, response)
    except OSError as error:
        if error.errno != ENOENT:
            raise
