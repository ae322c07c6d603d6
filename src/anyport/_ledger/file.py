"""The ledger's file: opened where its path says, locked, and let go when others use another one.

Lock: flock(2) on the file, and a mutex between threads, for a flock belongs to the open file and not to the thread.
Both are waited for with a limit.

Rules for whoever edits this: after the lock is had the path must still name the file that it was had on; whoever finds
that it does not keeps what the file had of claims, for the one that is opened then.  A descriptor is closed only while
it still is that file: somebody may have closed all of ours, and the number be another file's by now.
"""

import _thread
import fcntl
import os
import time
from errno import EMFILE, ENFILE
from itertools import chain

from anyport._clock import pauses
from anyport._ledger import place
from anyport._ledger.record import WHOLE
from anyport.errors import LedgerError, ResourceLimit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Opener = Callable[[], tuple[int, str, bool]]  # descriptor, path, whether the user named it

_WAIT = 5.0  # seconds for the lock, which everybody keeps for some milliseconds at most
_QUEUE = 60.0  # seconds for it as long as others are seen to come and go
SOON = 0.05  # seconds for the lock of one that failed us lately
_TRY_LOCK = fcntl.LOCK_EX | fcntl.LOCK_NB


class Interrupted(LedgerError):
    """A signal handler has come while its own thread was locking or unlocking the ledger, and can't wait for that."""


class LockedFile:
    """A file with a lock that is waited for.

    `patience` are the seconds for which one waits that is not seen to change hands.
    """

    __slots__ = (
        "_fd",
        "_inode",
        "_mutex",
        "_opener",
        "_pid",
        "is_held",
        "is_named",
        "is_new",
        "known",
        "path",
        "patience",
    )  # fmt: skip

    def __init__(self, opener: "Opener", patience: "float | None" = None) -> None:
        self._fd = -1
        self._inode = (0, 0)
        self._opener = opener
        self._mutex = _thread.RLock()  # which knows its owner from the very moment that it has one
        self._pid = os.getpid()
        self.is_held = False  # and its content known
        self.is_named = self.is_new = False
        self.known = b""  # of a file that we had open, and that is no longer at its path
        self.path = ""
        self.patience = patience

    def is_ours(self) -> bool:
        """Tell whether this thread has it already, and was interrupted."""
        return self.is_held and self._has_mutex() and self._pid == os.getpid()

    def _has_mutex(self) -> bool:
        mutex: Any = self._mutex  # whose `_is_owned` no type checker knows; threading.Condition asks it, too
        return bool(mutex._is_owned())  # noqa: SLF001

    def lock(self) -> None:
        """Have the file to ourselves, for this process and this thread; LedgerError if that can't be had in time."""
        if self._pid != os.getpid():  # a fork that Python was not told of, made in C
            self.forget_lock()
        if self._has_mutex():
            raise Interrupted("this thread has the ledger already")
        if not self._mutex.acquire(timeout=_WAIT):
            raise LedgerError(f"another thread has had the ledger for {_WAIT:g} s")
        try:
            if not self._try_lock():
                self._lock()
        except BaseException:
            self._let_go()
            raise

    def is_current(self) -> bool:
        """Tell whether the path still names the file that we have open; if it does not, others use another."""
        try:
            found = os.stat(self.path)
        except OSError:  # deleted; or we are another user by now, who has a ledger of his own
            return False
        return (found.st_ino, found.st_dev) == self._inode

    def forget_lock(self) -> None:
        """Close the file in a forked child: it is the parent's open file, and with it the lock is not ours."""
        self._mutex = _thread.RLock()
        self._pid, self.is_held = os.getpid(), False
        self._close()

    def __del__(self) -> None:
        self._close()

    def _lock(self) -> None:
        # Short pauses at first: whoever asks in a loop has the lock for most of the time, and flock has no queue with a
        # limit.  Long ones when that was not enough: of a thousand commands that began together on two processors, up
        # to 646 could not get it within a minute while they all looked every 2 ms; with these none.
        changed, since = 0, time.monotonic()
        for _ in chain(pauses(0.2, first=0.0001, longest=0.002), pauses(_QUEUE, first=0.004, longest=0.05)):
            if self._try_lock():
                return
            before, changed = changed, self._changed()
            if changed != before:
                since = time.monotonic()
            elif time.monotonic() - since > (_WAIT if self.patience is None else self.patience):
                raise locked(self.path, "another process", _WAIT)
        raise locked(self.path, "others, in turn,", _QUEUE)

    def _changed(self) -> int:
        """Return when somebody last wrote to the file, as whoever has had the lock nearly always does."""
        return os.fstat(self._fd).st_mtime_ns if self._fd >= 0 else 0

    def _try_lock(self) -> bool:
        """Lock the file that the path names now, which may have been deleted or replaced since it was opened."""
        if self._fd >= 0 and not is_file(self._fd, self._inode):
            self._fd = -1  # somebody closed all descriptors, and this number may be another file's by now
        if self._fd < 0:
            self._fd, self.path, self.is_named = self._opener()
            found = os.fstat(self._fd)
            self._inode = (found.st_ino, found.st_dev)
            self.is_new = True
        try:
            fcntl.flock(self._fd, _TRY_LOCK)
        except BlockingIOError:
            return False
        if self.is_current():
            return True
        if not self.is_new:  # else it was not ours yet, and what is known is of the one before
            self.known = self._content()
        self._close()
        return False

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0 and is_file(fd, self._inode):
            os.close(fd)

    def _let_go(self) -> None:
        try:
            if self._fd >= 0:
                fcntl.flock(self._fd, fcntl.LOCK_UN)
        except OSError:
            self._fd = -1  # closed by somebody else, and with it the lock is gone
        finally:
            self._mutex.release()

    def _trouble(self, error: OSError) -> OSError:
        """Return the error as one of the ledger, unless there are no descriptors left: then nothing at all works."""
        if isinstance(error, LedgerError):
            return error
        if error.errno in (EMFILE, ENFILE):
            return ResourceLimit.of(error, "the ledger can't be opened")
        return LedgerError(
            f"the ledger {self.path} can't be used: {error.strerror} (errno {error.errno})",
            hint=f"make room for it or repair it, or name a file in {place.VARIABLE}",
            errno=error.errno,
        )

    def _content(self) -> bytes:
        """Return what can still be read of the file, with or without the lock."""
        try:
            return os.pread(self._fd, WHOLE, 0) if self._fd >= 0 and is_file(self._fd, self._inode) else self.known
        except OSError:
            return self.known


def locked(path: str, by: str, seconds: float) -> LedgerError:
    """Return the error for a ledger that others kept locked for so long."""
    return LedgerError(
        f"the ledger {path} has been locked by {by} for {seconds:g} s",
        hint=f"`fuser -v {path}` shows who has it open",
    )


def is_file(fd: int, inode: "tuple[int, int]") -> bool:
    """Tell whether this descriptor still is the file with that inode."""
    try:
        found = os.fstat(fd)
    except OSError:
        return False
    return (found.st_ino, found.st_dev) == inode
