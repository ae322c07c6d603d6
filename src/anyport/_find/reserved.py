"""The pool: quiet numbers that a process which asks often has claimed ahead, a few at a time.

One claim costs more than one probe: lock, look, read, write, unlock.  So whoever asks again within a tenth of a second
claims two numbers at once, then four, up to 64, and most calls are one look at a list and one probe.  What was not used
within that time is claimed anew at the next call, as far as it is still ours.  Whatever is not plain (no number left,
no IPv6, another network namespace, a bind refused for another reason than use) is left to the long way, which alone
knows about errors.

Rules for whoever edits it: from the look whether the numbers are still ours until one of them is taken nobody else of
this process has the pool, so no thread refills what another one is refilling, or takes what was claimed anew and given
meanwhile.  Who can't have it soon goes the long way, which is always right: many threads at once, and a signal handler
that asks while its own thread has the pool, for which nothing else could be waited for.  The pool is that of one
process: a fork that Python is not told of, one made in C, has another pid and begins anew.
"""

import _thread
import os
from _socket import AF_INET6, IPPROTO_IPV6, IPV6_V6ONLY, SOCK_STREAM, SOL_SOCKET
from _socket import socket as _socket
from errno import EADDRINUSE
from time import CLOCK_BOOTTIME, clock_gettime

from anyport._find.candidates import Offer, offer_of
from anyport._ledger import keeper
from anyport._ledger.file import Interrupted
from anyport._linux.socket import SO_NETNS_COOKIE
from anyport._linux.sysctl import port_settings
from anyport.errors import LedgerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from anyport._ledger.turns import Ledger, Reserved
    from anyport.errors import Tell

_FRESH = 0.1  # seconds that reserved numbers may wait; their claims last this much longer
_MOST = 64
_getpid = os.getpid
_PATIENCE = 0.02  # seconds for the pool, which its owner has for a claim at most


class _Pool:
    """Numbers reserved in one ledger, with their records, last first, good until `until`, in the process `pid`."""

    __slots__ = ("cookie", "ledger", "pid", "ports", "size", "until")

    def __init__(self, cookie: bytes, ledger: "Ledger | None", ports: "list[Reserved]", size: int) -> None:
        self.cookie = cookie
        self.ledger = ledger
        self.ports = ports
        self.size = size
        self.pid = _getpid()
        self.until = clock_gettime(CLOCK_BOOTTIME) + _FRESH


_pool = _Pool(b"", None, [], 0)
_mutex = _thread.allocate_lock()


def take(keep: float, tell: "Tell") -> "int | None":
    """Return a quiet port that is unused on every local address, claimed for `keep` seconds; None: go the long way."""
    if _pool.pid != _getpid():
        forget()
    mutex = _mutex
    if not mutex.acquire(timeout=_PATIENCE):
        return None
    try:
        return _take(keep, tell)
    finally:
        mutex.release()


def _take(keep: float, tell: "Tell") -> "int | None":
    pool = _pool
    try:
        sock = _socket(AF_INET6, SOCK_STREAM, 0)
    except OSError:
        return None
    try:
        sock.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 0)
        cookie = sock.getsockopt(SOL_SOCKET, SO_NETNS_COOKIE, 8)
        if pool.cookie != cookie or pool.until < clock_gettime(CLOCK_BOOTTIME) or not pool.ports:
            pool = _refill(pool, cookie, keep, tell)
        while True:
            port, _ = pool.ports.pop()
            try:
                sock.bind(("::", port))
            except OSError as error:
                if error.errno != EADDRINUSE:
                    raise
            else:
                return port
    except (OSError, IndexError):  # IndexError: no quiet range, or all of them are used
        return None
    finally:
        sock.close()


def _refill(pool: _Pool, cookie: bytes, keep: float, tell: "Tell") -> _Pool:
    global _pool
    namespace = int.from_bytes(cookie, "little")
    offer = offer_of(port_settings(namespace))
    ledger = keeper.ledger(namespace, tell)
    left = pool.ports if pool.ledger is ledger and pool.cookie == cookie else []
    asks_often = pool.cookie == cookie and clock_gettime(CLOCK_BOOTTIME) < pool.until
    size = len(left) or (min(max(1, pool.size * 2), _MOST) if asks_often else 1)
    ports: list[Reserved] = []
    if offer.has_quiet:
        try:
            ports = _reserve(ledger, offer, left, size, int((keep + _FRESH) * 1_000_000))
        except Interrupted:
            raise
        except LedgerError as error:
            keeper.replacement(namespace, ledger, error, tell)
            raise
    _pool = _Pool(cookie, ledger, ports, size)
    return _pool


def _reserve(ledger: "Ledger", offer: Offer, left: "list[Reserved]", size: int, keep: int) -> "list[Reserved]":
    ledger.acquire()
    try:
        return ledger.renew(left, keep) or ledger.reserve(offer.is_quiet, size, keep)
    finally:
        ledger.release()


def forget() -> None:
    """Reserve anew: after a fork the numbers are the parent's, and so may be whoever has the pool."""
    global _pool, _mutex
    _mutex = _thread.allocate_lock()
    _pool = _Pool(b"", None, [], 0)


os.register_at_fork(after_in_child=forget)
