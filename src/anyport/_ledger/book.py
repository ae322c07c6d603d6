"""The ledger's records: claims are read and written here, under the lock of the file.

pread and pwrite, never mmap: with that a file which somebody truncates would kill us (SIGBUS).  Claims are written
before the header: whoever is killed in between leaves a claimed number whose turn comes once more, and it is passed
over then.
"""

import os
from errno import ENOSPC

from anyport._clock import boot_microseconds
from anyport._ledger import place
from anyport._ledger.file import SOON, LockedFile
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
from anyport.errors import LedgerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

    from anyport._ledger.file import Opener


class Moved(LedgerError):
    """What was chosen must be chosen anew.

    The file was deleted or replaced while claims were written to it, or a signal handler came in between and was given
    the same number.
    """


class Book(LockedFile):
    """One ledger.  All but `acquire` is for whoever has acquired it, and has not released it yet.

    `now` is the time of `acquire`, one for all that is decided under the lock; `turn` how far the quiet range has been
    given out; `alone` says that other processes have other ledgers; `former` is the one that stood in for this one
    while it could not be used.

    Claims first, then give: what other files than the one that is locked have of claims (of `former`, of one that was
    deleted while we had it open, of a later place) is taken over before `acquire` returns.

    A signal handler that comes while its own thread has the ledger can't wait for it, and may use it: it is locked.
    Whoever claims a number first has it (`_given`, by dict.setdefault, between whose look and act no handler comes),
    and whoever comes second chooses anew (Moved).  One that comes while its thread is locking or unlocking it gives by
    a copy, and leaves word of its claims (`left`), which are written before anything else is chosen.
    """

    __slots__ = ("_given", "_outer", "_turned", "_who", "_wrote", "alone", "boot", "former", "left", "now", "turn")

    def __init__(self, opener: "Opener", *, alone: bool = False, former: "Self | None" = None) -> None:
        super().__init__(opener, SOON if former else None)
        self.boot = -1
        self._given: dict[int, object] = {}  # who claims which number, since the file was locked
        self._outer: list[object] = []  # those whom a signal handler has interrupted
        self._who = object()
        self.left: dict[int, bytes] = {}  # records by their place in the file
        self._turned = self._wrote = False
        self.alone = alone
        self.former = former
        self.now = self.turn = 0

    def acquire(self) -> None:
        """Lock the ledger and read its header.

        Raises LedgerError when it can't be locked within five seconds (a minute, if others have it in turn), or can't
        be opened, read or repaired.
        """
        if self.is_ours():
            self._outer.append(self._who)
            self._who = object()
            return
        try:
            self.lock()
        except OSError as error:
            raise self._trouble(error) from error
        try:
            self._given.clear()
            if self.boot < 0:
                self.boot = boot_word()
            turn = unpack_header(os.pread(self._fd, SLOT, 0), self.boot)
            self.turn = self._repair() if turn is None else turn
            self._turned = self._wrote = False
            self.now = boot_microseconds()
            if self.is_new:
                _take_over(self)
            self._write_left()
            self.is_held = True
            self._write_left()  # of a handler that came in between
        except BaseException as error:
            self._let_go()
            if isinstance(error, OSError):
                raise self._trouble(error) from error
            raise

    def release(self) -> None:
        """Write down whose turn it is, and unlock.

        Raises Moved if the claims went to a file that others do not look into any more.
        """
        if self._outer:
            self._who = self._outer.pop()
            return
        self.is_held = False
        try:
            self._write_left()
            if self._turned:
                _write_all(self._fd, pack_header(self.boot, self.turn), 0)
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
        self.take(port)
        deadline = self.now + keep
        if is_claimed(old, self.now):
            deadline = max(deadline, deadline_of(old))
        self.write(pack_claim(deadline, kind, owner), offset(port))

    def take(self, port: int) -> None:
        """Be the first to claim this number since the file was locked; raise Moved if somebody else was."""
        if self._given.setdefault(port, self._who) is not self._who:
            raise Moved(f"port {port} was given to a signal handler meanwhile")

    def forget(self, port: int) -> None:
        """End the claim of a port."""
        self.write(NOTHING, offset(port))

    def claim_from_turn(self, turn: int, records: bytes) -> None:
        """Write the records of the turns from this one on, as `records_from_turn` reads them."""
        self.write(records, offset_of_turn(turn))

    def readable(self) -> bytes:
        """Return what can still be read of the file, with or without the lock."""
        found = self._content()
        return found.ljust(WHOLE, b"\0") if found else b""

    def copy(self) -> bytes:
        """Return what is claimed in the file, as far as it can be read without the lock, and of what word was left."""
        content = bytearray(self.readable() or bytes(WHOLE))
        for at, record in self.left.items():
            content[at : at + SLOT] = record
        return bytes(content)

    def _write_left(self) -> None:
        while self.left:
            at, record = self.left.popitem()
            self.write(record, at)

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

    def write(self, data: bytes, at: int) -> None:
        """Write bytes at this place of the file."""
        self._wrote = True
        try:
            _write_all(self._fd, data, at)
        except OSError as error:
            raise self._trouble(error) from error

    def _repair(self) -> int:
        """Start anew: this is a new file, or noise, another version's, or from before the machine was restarted.

        Noise only where the folder is ours: in a file that was named it may be somebody's data (see `place`).
        """
        if self.is_named:
            place.check_content(self._fd, self.path)
        os.ftruncate(self._fd, 0)
        os.ftruncate(self._fd, WHOLE)
        header = new_header(self.boot)
        _write_all(self._fd, header, 0)
        return unpack_header(header, self.boot) or 0


def _take_over(book: "Book") -> None:
    """Claim what is claimed in the files that were used before or instead of this one."""
    if book.former:
        _claim_all(book, book.former.contents())
    _claim_all(book, book.known)
    for path in () if book.is_named else place.left_behind(book.path):
        _empty(book, path)
    book.former, book.known, book.is_new, book.patience = None, b"", False, None


def _empty(book: "Book", path: str) -> None:
    """Take over the claims of a ledger in a later place, and remove it, so that who has it open comes here too."""
    try:
        fd = place.open_left_behind(path)
    except OSError:  # not ours, or another process was quicker
        return
    try:
        _claim_all(book, os.pread(fd, WHOLE, 0))
        os.unlink(path)
        _claim_all(book, os.pread(fd, WHOLE, 0))  # whoever writes to it from now on finds that its path has gone
    finally:
        os.close(fd)


def _claim_all(book: "Book", content: bytes) -> None:
    if unpack_header(content[:SLOT], book.boot) is not None:
        for at, record in list(claims_lacking(content, book.records(), book.now, lives)):
            book.write(record, at)


def _write_all(fd: int, data: bytes, at: int) -> None:
    if os.pwrite(fd, data, at) < len(data):  # a file system that fills up writes what still fits, without an error
        raise OSError(ENOSPC, os.strerror(ENOSPC))


def new_header(boot: int) -> bytes:
    """Return a header whose turn is drawn by chance, so that two new ledgers do not give the same numbers."""
    return pack_header(boot, int.from_bytes(os.urandom(4), "little"))
