"""The ledger's file under its lock: claims are read and written here.

Lock: flock(2) on the file, and a mutex between threads, for a flock belongs to the open file and not to the thread.
Both are waited for with a limit.  pread and pwrite, never mmap: with that a file which somebody truncates would kill us
(SIGBUS).  Claims are written before the header: whoever is killed in between leaves a claimed number whose turn comes
once more, and it is passed over then.
"""

import _thread
import fcntl
import os
import time
from errno import EMFILE, ENFILE, ENOSPC
from itertools import chain

from anyport._clock import boot_microseconds, pauses
from anyport._ledger import place
from anyport._ledger.owner import is_claimed, lives
from anyport._ledger.record import (
    NOTHING,
    SLOT,
    WHOLE,
    claims_lacking,
    deadline_of,
    offset,
    offset_of_turn,
    pack_claim,
    pack_header,
    unpack_header,
)
from anyport._linux.sysctl import boot_word
from anyport.errors import LedgerError, ResourceLimit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    Opener = Callable[[], tuple[int, str, bool]]  # descriptor, path, whether the user named it

_WAIT = 5.0  # seconds for the lock, which everybody keeps for some milliseconds at most
_QUEUE = 60.0  # seconds for it as long as others are seen to come and go
_SOON = 0.05  # seconds for the lock of one that failed us lately
_TRY_LOCK = fcntl.LOCK_EX | fcntl.LOCK_NB


class Moved(LedgerError):
    """The file was deleted or replaced while claims were written to it: what was chosen must be chosen anew."""


class Book:
    """One ledger.  All but `acquire` is for whoever has acquired it, and has not released it yet.

    `now` is the time of `acquire`, one for all that is decided under the lock; `turn` how far the quiet range has been
    given out; `alone` says that other processes have other ledgers.
    `former` is the ledger that stood in for this one while it could not be used.

    Claims first, then give: what other files than the one that is locked have of claims (of `former`, of one that was
    deleted while we had it open, of a later place) is taken over before `acquire` returns.
    """

    __slots__ = (
        "_boot", "_fd", "_holder", "_inode", "_is_new", "_known", "_mutex", "_named", "_opener", "_turned", "_wrote",
        "alone", "former", "now", "path", "turn",
    )  # fmt: skip

    def __init__(self, opener: "Opener", *, alone: bool = False, former: "Self | None" = None) -> None:
        self._fd = -1
        self._inode = (0, 0)
        self._opener = opener
        self._mutex = _thread.allocate_lock()
        self._holder = 0
        self._boot = -1
        self._named = False
        self._turned = self._wrote = self._is_new = False
        self._known = b""  # of a file that we had open, and that is no longer at its path
        self.path = ""
        self.alone = alone
        self.former = former
        self.now = self.turn = 0

    def acquire(self) -> None:
        """Lock the ledger and read its header.

        Raises LedgerError when it can't be locked within five seconds (a minute, if others have it in turn), or can't
        be opened, read or repaired.
        """
        me = _thread.get_ident()
        if not self._mutex.acquire(timeout=0.0 if self._holder == me else _WAIT):
            who = "this thread has the ledger already" if self._holder == me else "another thread has had the ledger"
            raise LedgerError(f"{who}{'' if self._holder == me else f' for {_WAIT:g} s'}")  # from a signal handler
        self._holder = me
        try:
            if self._boot < 0:
                self._boot = boot_word()
            if not self._try_lock():
                self._lock()
            turn = unpack_header(os.pread(self._fd, SLOT, 0), self._boot)
            self.turn = self._repair() if turn is None else turn
            self._turned = self._wrote = False
            self.now = boot_microseconds()
            if self._is_new:
                self._take_over()
        except BaseException as error:
            self._let_go()
            if isinstance(error, OSError):
                raise self._trouble(error) from error
            raise

    def release(self) -> None:
        """Write down whose turn it is, and unlock.

        Raises Moved if the claims went to a file that others do not look into any more.
        """
        try:
            if self._turned:
                _write_all(self._fd, pack_header(self._boot, self.turn), 0)
            if self._wrote and not self.is_current():
                raise Moved(f"the ledger {self.path} was deleted or replaced while it was used")
        except OSError as error:
            raise self._trouble(error) from error
        finally:
            self._let_go()

    def take_turn(self, turn: int) -> None:
        """Say whose turn it is from now on."""
        self.turn = turn
        self._turned = True

    def record(self, port: int) -> bytes:
        """Return the record of one port."""
        return os.pread(self._fd, SLOT, offset(port)).ljust(SLOT, b"\0")

    def records_from_turn(self, count: int) -> bytes:
        """Return the records of the next turns, side by side; whoever asks for them ends with the lap."""
        return os.pread(self._fd, count * SLOT, offset_of_turn(self.turn)).ljust(count * SLOT, b"\0")

    def records(self) -> bytes:
        """Return the whole file; one that was cut short lacks claims, nothing else."""
        return os.pread(self._fd, WHOLE, 0).ljust(WHOLE, b"\0")

    def claim(self, port: int, keep: int, kind: int, owner: int, old: bytes) -> None:
        """Claim a port for `keep` microseconds over its `old` record, whose deadline is never brought forward."""
        deadline = self.now + keep
        if is_claimed(old, self.now):
            deadline = max(deadline, deadline_of(old))
        self._write(pack_claim(deadline, kind, owner), offset(port))

    def forget(self, port: int) -> None:
        """End the claim of a port."""
        self._write(NOTHING, offset(port))

    def claim_from_turn(self, records: bytes) -> None:
        """Write the records of the next turns, as `records_from_turn` reads them."""
        self._write(records, offset_of_turn(self.turn))

    def readable(self) -> bytes:
        """Return what can still be read of the file, with or without the lock."""
        try:
            return self.records() if self._fd >= 0 and is_file(self._fd, self._inode) else self._known
        except OSError:
            return self._known

    def is_current(self) -> bool:
        """Tell whether the path still names the file that we have open; if it does not, others use another."""
        try:
            found = os.stat(self.path)
        except OSError:  # deleted; or we are another user by now, who has a ledger of his own
            return False
        return (found.st_ino, found.st_dev) == self._inode

    def forget_lock(self) -> None:
        """Close the file in a forked child: it is the parent's open file, and with it the lock is not ours."""
        self._mutex = _thread.allocate_lock()
        self._close()

    def __del__(self) -> None:
        self._close()

    def _take_over(self) -> None:
        """Claim what is claimed in the files that were used before or instead of this one."""
        if self.former:
            self._claim_all(self.former.contents())
        self._claim_all(self._known)
        for path in () if self._named else place.left_behind(self.path):
            self._empty(path)
        self.former, self._known, self._is_new = None, b"", False

    def _empty(self, path: str) -> None:
        """Take over the claims of a ledger in a later place, and remove it, so that who has it open comes here too."""
        try:
            fd = place.open_left_behind(path)
        except OSError:  # not ours, or another process was quicker
            return
        try:
            self._claim_all(os.pread(fd, WHOLE, 0))
            os.unlink(path)
            self._claim_all(os.pread(fd, WHOLE, 0))  # whoever writes to it from now on finds that its path has gone
        finally:
            os.close(fd)

    def _claim_all(self, content: bytes) -> None:
        if unpack_header(content[:SLOT], self._boot) is not None:
            for at, record in list(claims_lacking(content, self.records(), self.now, lives)):
                self._write(record, at)

    def contents(self) -> bytes:
        """Return the whole file, once others have written what they are writing; nothing if that can't be had."""
        try:
            self.acquire()
        except OSError:
            return self.readable()
        try:
            return self.records()
        finally:
            self.release()

    def _write(self, data: bytes, at: int) -> None:
        self._wrote = True
        try:
            _write_all(self._fd, data, at)
        except OSError as error:
            raise self._trouble(error) from error

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
            elif time.monotonic() - since > (_SOON if self.former else _WAIT):
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
            self._fd, self.path, self._named = self._opener()
            found = os.fstat(self._fd)
            self._inode = (found.st_ino, found.st_dev)
            self._is_new = True
        try:
            fcntl.flock(self._fd, _TRY_LOCK)
        except BlockingIOError:
            return False
        if self.is_current():
            return True
        if not self._is_new:  # else it was not ours yet, and what is known is of the one before
            self._known = self.readable()
        self._close()
        return False

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0 and is_file(fd, self._inode):
            os.close(fd)

    def _repair(self) -> int:
        """Start anew: this is a new file, or noise, another version's, or from before the machine was restarted.

        Noise only where the folder is ours: in a file that was named it may be somebody's data (see `place`).
        """
        if self._named:
            place.check_content(self._fd, self.path)
        os.ftruncate(self._fd, 0)
        os.ftruncate(self._fd, WHOLE)
        header = new_header(self._boot)
        _write_all(self._fd, header, 0)
        return unpack_header(header, self._boot) or 0

    def _let_go(self) -> None:
        try:
            if self._fd >= 0:
                fcntl.flock(self._fd, fcntl.LOCK_UN)
        except OSError:
            self._fd = -1  # closed by somebody else, and with it the lock is gone
        finally:
            self._holder = 0
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


def _write_all(fd: int, data: bytes, at: int) -> None:
    if os.pwrite(fd, data, at) < len(data):  # a file system that fills up writes what still fits, without an error
        raise OSError(ENOSPC, os.strerror(ENOSPC))


def new_header(boot: int) -> bytes:
    """Return a header whose turn is drawn by chance, so that two new ledgers do not give the same numbers."""
    return pack_header(boot, int.from_bytes(os.urandom(4), "little"))
