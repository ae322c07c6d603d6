"""signalfd(2) and linux/signalfd.h: blocked signals as something to read, with who sent each."""

import os
import struct

from anyport._linux.libc import call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

SFD_CLOEXEC, SFD_NONBLOCK = os.O_CLOEXEC, os.O_NONBLOCK
_NSIG = 1024  # of glibc's and musl's sigset_t, in bits

_signalfd_siginfo = struct.Struct("=IiiI112x")  # signo, errno, code, pid; 128 bytes


class Siginfo:
    """A signal that came: its number, and the code that says who sent it (sigaction(2): above 0 the kernel)."""

    __slots__ = ("code", "number", "pid")

    def __init__(self, number: int, code: int, pid: int) -> None:
        self.number = number
        self.code = code
        self.pid = pid

    @property
    def is_from_process(self) -> bool:
        return self.code <= 0


def signalfd(numbers: "Iterable[int]") -> int:
    """Return a descriptor that is readable when one of these signals, which must be blocked, is pending."""
    return call("signalfd", -1, sigset(numbers), SFD_CLOEXEC | SFD_NONBLOCK)


def sigset(numbers: "Iterable[int]") -> bytes:
    """Return the bytes of a sigset_t."""
    return sum(1 << number - 1 for number in numbers).to_bytes(_NSIG // 8, "little")


def read(fd: int) -> "list[Siginfo]":
    """Return the signals that are pending; each number at most once, but for real-time ones."""
    try:
        data = os.read(fd, 64 * _signalfd_siginfo.size)
    except BlockingIOError:
        return []
    return parse(data)


def parse(data: bytes) -> "list[Siginfo]":
    """Cut what was read into records; a cut one is left out."""
    whole = len(data) // _signalfd_siginfo.size * _signalfd_siginfo.size
    return [Siginfo(number, code, pid) for number, _, code, pid in _signalfd_siginfo.iter_unpack(data[:whole])]
