"""The C library, for system calls that Python has no name for; a failure becomes OSError here and nowhere else."""

import ctypes
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_libc = ctypes.CDLL(None, use_errno=True)
_LONGEST_ADDRESS = 128  # struct sockaddr_storage


def prepare(name: str, *args: "int | bytes | None") -> "Callable[[], int]":
    """Make ready a call of a function that returns -1 and sets errno when it fails; return what makes it."""
    function = getattr(_libc, name)
    ready = [ctypes.c_long(arg) if isinstance(arg, int) else arg for arg in args]

    def call() -> int:
        result = int(function(*ready))
        if result == -1:
            errno = ctypes.get_errno()
            raise OSError(errno, f"{name}: {os.strerror(errno)}")
        return result

    return call


def call(name: str, *args: "int | bytes | None") -> int:
    """Call a function of the C library that returns -1 and sets errno when it fails."""
    return prepare(name, *args)()


def syscall(name: str, number: int, *args: "int | bytes | None") -> int:
    """Make a system call that the library has no function for."""
    try:
        return call("syscall", number, *args)
    except OSError as error:
        raise OSError(error.errno, f"{name}: {os.strerror(error.errno or 0)}") from None


def getsockname(fd: int) -> bytes:
    """Return a socket's own address as the kernel writes it."""
    address, length = ctypes.create_string_buffer(_LONGEST_ADDRESS), ctypes.c_uint(_LONGEST_ADDRESS)
    call("getsockname", fd, ctypes.addressof(address), ctypes.addressof(length))
    return address.raw[: length.value]
