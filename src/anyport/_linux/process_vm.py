"""process_vm_readv(2): the memory of another process, which we must be allowed to trace."""

import ctypes
import struct
from errno import EFAULT

from anyport._linux.libc import call

_iovec = struct.Struct("@PN")


def read(tid: int, address: int, length: int) -> bytes:
    """Return so many bytes of a process's memory; EFAULT if one can't be read, as a system call would find."""
    buffer = ctypes.create_string_buffer(length)
    _move("process_vm_readv", tid, buffer, address, length)
    return buffer.raw


def write(tid: int, address: int, data: bytes) -> None:
    """Put these bytes into a process's memory, all or EFAULT."""
    _move("process_vm_writev", tid, ctypes.create_string_buffer(data, len(data)), address, len(data))


def _move(name: str, tid: int, buffer: "ctypes.Array[ctypes.c_char]", address: int, length: int) -> None:
    here, there = _iovec.pack(ctypes.addressof(buffer), length), _iovec.pack(address, length)
    if call(name, tid, here, 1, there, 1, 0) < length:
        raise OSError(EFAULT, f"{name}: only a part of {length} bytes at {address:#x}")
