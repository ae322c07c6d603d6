"""A forked child whose trapped calls wait for the test, and numbers of processes that are used again at once."""

import contextlib
import ctypes
import os
import signal
import struct
from collections.abc import Callable, Iterator
from typing import NoReturn

from anyport._supervise import enter

_SYS_clone3 = 435  # on every architecture
_clone_args = struct.Struct("=11Q")
_UNTOLD = 255


class Caller:
    """The child, and the listener on which its calls arrive."""

    def __init__(self, pid: int, listener: int) -> None:
        self.pid = pid
        self.listener = listener
        self.is_there = True

    def kill(self) -> None:
        """Nothing is left of it, not even its number."""
        if self.is_there:
            os.kill(self.pid, signal.SIGKILL)
            self.status()

    def status(self) -> int:
        """How it ended: the errno of what it did."""
        self.is_there = False
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@contextlib.contextmanager
def calling(act: Callable[[], object]) -> Iterator[Caller]:
    """A child that does this under supervision."""
    ours, theirs = enter.link()
    pid = os.fork()
    if not pid:
        ours.close()
        _end_with(lambda: enter.enter(theirs, enter.CALLS + enter.CALLS_TO_RENAME, "/"), act)
    theirs.close()
    listener = enter.begin_supervised(ours, pid, _fail)
    ours.close()
    assert listener is not None
    caller = Caller(pid, listener)
    try:
        yield caller
    finally:
        os.close(listener)
        caller.kill()


def fork_as(pid: int, act: Callable[[], object]) -> None:
    """A child with this number, which nobody must have (clone3(2), set_tid), does that."""
    number = ctypes.c_int(pid)
    args = _clone_args.pack(0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, ctypes.addressof(number), 1, 0)
    libc = ctypes.PyDLL(None, use_errno=True)  # which keeps the interpreter's lock: no other thread has it in the child
    made = libc.syscall(_SYS_clone3, args, len(args))
    if not made:
        _end_with(act)
    assert made == pid, os.strerror(ctypes.get_errno())


def _end_with(*acts: Callable[[], object]) -> NoReturn:
    status = _UNTOLD
    try:
        for act in acts:
            act()
        status = 0
    except OSError as error:
        status = error.errno or _UNTOLD
    finally:
        os._exit(status)


def _fail(error: OSError) -> None:
    raise error
