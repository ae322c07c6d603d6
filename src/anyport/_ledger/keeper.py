"""The ledger of this process: which one is open, also after a fork, and what replaces one that can't be used."""

import os
import time

from anyport._ledger import place
from anyport._ledger.book import Moved, new_header
from anyport._ledger.file import Interrupted, is_file
from anyport._ledger.record import SLOT, WHOLE
from anyport._ledger.turns import Ledger
from anyport._linux.sysctl import boot_word
from anyport.errors import LedgerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from anyport.errors import Tell

    T = TypeVar("T")

_MOST = 16  # ledgers open at a time, in a process that goes from one network namespace to the next
_AGAIN = 1.0  # seconds after which a ledger that failed is tried again, without waiting for it as long as before

_ledgers: "dict[tuple[int, str | None], Ledger]" = {}
_replaced: "dict[tuple[int, str | None], float]" = {}
_told: "set[str]" = set()


def ledger(namespace: int, tell: "Tell") -> Ledger:
    """Return the ledger of the network namespace with this cookie, which must be the caller's.

    `tell` gets each warning once a process.
    """
    key = (namespace, os.environ.get(place.VARIABLE))
    found = _ledgers.get(key)
    if found is None or (_replaced and time.monotonic() > _replaced.get(key, float("inf"))):
        if len(_ledgers) >= _MOST:
            _ledgers.pop(next(iter(_ledgers)), None)  # closed when nobody uses it any more
        found = _ledgers[key] = Ledger(lambda: place.open_ledger(namespace, _once(tell)), former=found)
        _replaced.pop(key, None)
    return found


def is_astray(namespace: int) -> bool:
    """Tell whether the other processes may use another ledger by now than the one that was opened here."""
    key = (namespace, os.environ.get(place.VARIABLE))
    found = _ledgers.get(key)
    return key in _replaced or (found is not None and not found.is_current())


def with_ledger(namespace: int, tell: "Tell", act: "Callable[[Ledger | None], T]") -> "T":
    """Return what `act` makes of the ledger, or of its replacement if that fails it; of None if there is neither."""
    found: Ledger | None = ledger(namespace, tell)
    for _ in range(3):
        if found is None:
            break
        try:
            return act(found)
        except Interrupted:
            return _by_copy(found, act)
        except LedgerError as error:
            found = replacement(namespace, found, error, tell)
    return act(None)


def _by_copy(interrupted: Ledger, act: "Callable[[Ledger | None], T]") -> "T":
    """Do for a signal handler what it asks, by a copy of a ledger that its own thread is locking or unlocking."""
    before = interrupted.copy()
    try:
        copy = Ledger(_Memory(before).open, alone=True)
    except OSError:
        return act(None)
    found = act(copy)
    after = copy.readable()
    changed = [at for at in range(SLOT, WHOLE, SLOT) if after[at : at + SLOT] != before[at : at + SLOT]]
    interrupted.left.update((at, after[at : at + SLOT]) for at in changed)
    return found


def replacement(namespace: int, broken: Ledger, error: LedgerError, tell: "Tell") -> "Ledger | None":
    """Put a ledger of this process, which its forks share, in the place of a broken one until that can be used again.

    One that only has to be opened anew stays in its place.  None where not even that can be had: then nothing is known
    of claims.
    """
    key = (namespace, os.environ.get(place.VARIABLE))
    current = _ledgers.get(key)
    if isinstance(error, Moved):
        return broken
    if current is not None and current is not broken:
        return current  # another thread has done it
    if broken.former:  # it failed again, and what was claimed meanwhile must not be forgotten
        _replaced[key] = time.monotonic() + _AGAIN
        _ledgers[key] = broken.former
        return broken.former
    if not broken.alone:
        message = f"{error}; only this process and its forks know the ports given out now"
        _once(tell)("warning", message, error.hint)
    try:
        memory = _Memory(broken.readable())
    except OSError:
        return None
    _replaced[key] = time.monotonic() + _AGAIN
    _ledgers[key] = Ledger(memory.open, alone=True)
    return _ledgers[key]


class _Memory:
    """A ledger's file that has no place but this process.

    It is opened by its path in /proc, so that a forked child gets an open file, and with it a flock, of its own.
    """

    def __init__(self, content: bytes) -> None:
        self._fd, self._inode = -1, (0, 0)
        self._fd = os.memfd_create("anyport-ledger", os.MFD_CLOEXEC)
        found = os.fstat(self._fd)
        self._inode = (found.st_ino, found.st_dev)
        # What is known of claims stays known.  The header is new, or all processes that can't write to the real ledger
        # would go on from the same turn.
        os.pwrite(self._fd, content, 0)
        os.pwrite(self._fd, new_header(boot_word()), 0)

    def __del__(self) -> None:
        if self._fd >= 0 and is_file(self._fd, self._inode):
            os.close(self._fd)

    def open(self) -> "tuple[int, str, bool]":
        if not is_file(self._fd, self._inode):
            raise LedgerError("the ledger of this process was closed by somebody else")
        path = f"/proc/self/fd/{self._fd}"
        return os.open(path, os.O_RDWR | os.O_CLOEXEC), path, False


def _once(tell: "Tell") -> "Tell":
    def tell_once(kind: str, message: str, hint: str) -> None:
        if message not in _told:
            _told.add(message)
            tell(kind, message, hint)

    return tell_once


def _after_fork() -> None:
    for each in _ledgers.values():
        each.forget_lock()


os.register_at_fork(after_in_child=_after_fork)
