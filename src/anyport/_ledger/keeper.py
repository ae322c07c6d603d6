"""The ledger of this process: which book is open, after a fork, and when the real one can't be used."""

import os
import time

from anyport._ledger import place
from anyport._ledger.book import Book, boot_word, new_header

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Warn = Callable[[str, str], None]

_AGAIN = 60.0  # seconds after which a ledger that failed is tried again

_books: "dict[tuple[int, str | None], Book]" = {}
_replaced: "dict[tuple[int, str | None], float]" = {}
_told: "set[str]" = set()


def book(namespace: int, warn: "Warn") -> Book:
    """The book of the network namespace with this cookie, which must be the caller's.

    `warn` gets (message, hint), once a process for each message.
    """
    key = (namespace, os.environ.get(place.VARIABLE))
    found = _books.get(key)
    if found is None or (_replaced and time.monotonic() > _replaced.get(key, float("inf"))):
        found = _books[key] = Book(lambda: place.open_ledger(namespace, _once(warn)))
        _replaced.pop(key, None)
    return found


def replacement(broken: Book, message: str, hint: str, warn: "Warn") -> Book:
    """Put a ledger of this process, which its forks share, in the place of a broken one for a minute."""
    _once(warn)(f"{message}; only this process and its forks know the ports given out now", hint)
    for key, each in _books.items():
        if each is broken:
            _replaced[key] = time.monotonic() + _AGAIN
            _books[key] = Book(_in_memory(broken))
            return _books[key]
    return Book(_in_memory(broken))


def _in_memory(broken: Book) -> "Callable[[], tuple[int, str]]":
    anchor = os.memfd_create("anyport-ledger", os.MFD_CLOEXEC)
    path = f"/proc/self/fd/{anchor}"
    # What is known of claims stays known.  The header is new, or all processes that can't write to the real ledger
    # would go on from the same turn.
    os.pwrite(anchor, broken.readable(), 0)
    os.pwrite(anchor, new_header(boot_word()), 0)
    # Opened by its path, so that a forked child gets an open file, and with it a flock, of its own.
    return lambda: (os.open(path, os.O_RDWR | os.O_CLOEXEC), path)


def _once(warn: "Warn") -> "Warn":
    def warn_once(message: str, hint: str) -> None:
        if message not in _told:
            _told.add(message)
            warn(message, hint)

    return warn_once


def _after_fork() -> None:
    for each in _books.values():
        each.forget_lock()


os.register_at_fork(after_in_child=_after_fork)
