"""linux/filter.h and socket(7), SO_ATTACH_FILTER: a program of the kernel's that drops what nobody wants to read."""

import _socket
import ctypes
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, value

SO_ATTACH_FILTER = 26
BPF_LD_H_ABS, BPF_JEQ_K, BPF_RET_K = 0x28, 0x15, 0x06
WHOLE = 0xFFFFFFFF  # as the value of a return: keep all of it

_sock_filter = struct.Struct("=HBBI")
_sock_fprog = struct.Struct("@HP")


def all_zero(offsets: "Sequence[int]") -> "list[Instruction]":
    """A program that keeps what has 0 in the two bytes at each of these offsets."""
    program: list[Instruction] = []
    for left, offset in enumerate(reversed(offsets)):
        program[:0] = [(BPF_LD_H_ABS, 0, 0, offset), (BPF_JEQ_K, 0, 2 * left + 1, 0)]
    return [*program, (BPF_RET_K, 0, 0, WHOLE), (BPF_RET_K, 0, 0, 0)]


def attach(sock: _socket.socket, program: "Sequence[Instruction]") -> None:
    """Have the kernel run this program on everything that arrives at the socket."""
    code = ctypes.create_string_buffer(b"".join(_sock_filter.pack(*each) for each in program))
    sock.setsockopt(_socket.SOL_SOCKET, SO_ATTACH_FILTER, _sock_fprog.pack(len(program), ctypes.addressof(code)))
