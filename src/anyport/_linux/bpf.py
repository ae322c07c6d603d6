"""linux/filter.h: a small program that the kernel runs, on a datagram (SO_ATTACH_FILTER) or a system call (seccomp)."""

import _socket
import ctypes
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, value

SO_ATTACH_FILTER = 26
BPF_LD_W_ABS, BPF_LD_H_ABS, BPF_JEQ_K, BPF_JGE_K, BPF_RET_K = 0x20, 0x28, 0x15, 0x35, 0x06
WHOLE = 0xFFFFFFFF  # as the value of a return: keep all of it

_sock_filter = struct.Struct("=HBBI")
_sock_fprog = struct.Struct("@HP")


class Code:
    """A program as the kernel takes it; `fprog` points into it, so it has to outlive the call."""

    def __init__(self, program: "Sequence[Instruction]") -> None:
        self._code = ctypes.create_string_buffer(b"".join(_sock_filter.pack(*each) for each in program))
        self.fprog = _sock_fprog.pack(len(program), ctypes.addressof(self._code))


def all_zero(offsets: "Sequence[int]") -> "list[Instruction]":
    """Return a program that keeps what has 0 in the two bytes at each of these offsets."""
    program: list[Instruction] = []
    for left, offset in enumerate(reversed(offsets)):
        program[:0] = [(BPF_LD_H_ABS, 0, 0, offset), (BPF_JEQ_K, 0, 2 * left + 1, 0)]
    return [*program, (BPF_RET_K, 0, 0, WHOLE), (BPF_RET_K, 0, 0, 0)]


def attach(sock: _socket.socket, program: "Sequence[Instruction]") -> None:
    """Have the kernel run this program on everything that arrives at the socket."""
    code = Code(program)
    sock.setsockopt(_socket.SOL_SOCKET, SO_ATTACH_FILTER, code.fprog)
