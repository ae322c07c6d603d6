"""process_vm_readv(2) and proc_pid_mem(5): the memory of another process, which we must be allowed to trace.

Reading goes by the number of the thread, and costs a third of what /proc/TID/mem does.  Whoever asks afterwards whether
the thread is still the one that is meant (`seccomp.is_waiting`) knows whose memory was read: the number was its own all
the time, from before the reading until after it.  Writing can't be taken back, so there the question has to come
before, and by a number the bytes might be written to another process that has it since.  So the memory is opened first,
then one asks, and then the bytes go through the descriptor, which stays that memory's.  (By it they also get to private
memory that is mapped for reading only, where a system call finds EFAULT.)
"""

import ctypes
import os
import struct
from errno import EFAULT, EIO

from anyport._linux.libc import call

_iovec = struct.Struct("@PN")
_END = 1 << 63  # no address of a process is as high, and no offset of a file


def read(tid: int, address: int, length: int) -> bytes:
    """Return so many bytes of a process's memory; EFAULT if one can't be read, as a system call would find."""
    buffer = ctypes.create_string_buffer(length)
    here, there = _iovec.pack(ctypes.addressof(buffer), length), _iovec.pack(address, length)
    _be_whole("process_vm_readv", call("process_vm_readv", tid, here, 1, there, 1, 0), address, length)
    return buffer.raw


def open_to_write(tid: int) -> int:
    """Return a descriptor for `write`; OSError if the thread is gone, or its memory can't be written from here."""
    return os.open(f"/proc/{tid}/mem", os.O_WRONLY | os.O_CLOEXEC)


def write(memory: int, address: int, data: bytes) -> None:
    """Put these bytes there, all or EFAULT; also if the process has ended."""
    try:
        written = os.pwrite(memory, data, address) if address < _END else 0
    except OSError as error:
        if error.errno != EIO:
            raise
        written = 0
    _be_whole("/proc/TID/mem", written, address, len(data))


def _be_whole(name: str, moved: int, address: int, length: int) -> None:
    if moved < length:
        raise OSError(EFAULT, f"{name}: only a part of {length} bytes at {address:#x}")
