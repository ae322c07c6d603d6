"""The C library, for system calls that Python has no name for; a failure becomes OSError here and nowhere else."""

import ctypes
import os

_libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *args: "int | bytes | None") -> int:
    """Call a function that returns -1 and sets errno when it fails."""
    result = int(getattr(_libc, name)(*(ctypes.c_long(arg) if isinstance(arg, int) else arg for arg in args)))
    if result == -1:
        errno = ctypes.get_errno()
        raise OSError(errno, f"{name}: {os.strerror(errno)}")
    return result
