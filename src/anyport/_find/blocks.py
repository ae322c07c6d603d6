"""Blocks: consecutive numbers among those that may be offered (pure, but for the records that they are steered by).

An unused and unclaimed block comes first, then the one in which nothing was given out lately.  A few starts are tried
before the ledger is read as a whole: most often one of them will do, and the rest is long work.
"""

from itertools import islice

from anyport._ledger.owner import is_claimed, lives
from anyport._ledger.record import claims_in
from anyport._ports import LAST, shuffled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from anyport._find.candidates import Offer
    from anyport._find.selection import Selection
    from anyport._ledger.turns import Ledger

_FIRST_STARTS = 32  # of blocks, tried before the ledger is read as a whole


class Blocks:
    """The blocks that a selection allows, made of these numbers."""

    def __init__(self, selection: "Selection", offer: "Offer", members: "frozenset[int]") -> None:
        self._selection = selection
        self._offer = offer
        self._members = members
        self._is_random = selection.start is None and selection.order == "random"

    def starts(self, ledger: "Ledger | None") -> "Iterator[int]":
        """Yield the first number of each block in the order in which they are tried; some come twice."""
        yield from self._preferred()
        if self._selection.only:
            return
        yield from self._first_unclaimed(ledger)
        count, members = self._selection.count, self._members
        ages = claims_in(ledger.records(), ledger.now, lives) if ledger else {}
        starts = starts_of(members - ages.keys(), count)
        yield from shuffled(starts) if self._is_random else reversed(starts)
        yield from by_newest(starts_of(members, count), count, ages) if ages else ()

    def _first_unclaimed(self, ledger: "Ledger | None") -> "Iterator[int]":
        members = self._members
        in_order = shuffled(list(members)) if self._is_random else iter(sorted(members))
        for start in islice(in_order, _FIRST_STARTS):
            block = range(start, start + self._selection.count)
            if members.issuperset(block) and not (ledger and _has_claims(ledger, block)):
                yield start

    def _preferred(self) -> "Iterator[int]":
        for start in self._selection.preferred:
            rest = range(start + 1, start + self._selection.count)
            allowed = self._offer.allows(start, named=True) and start + len(rest) <= LAST
            if allowed and all(map(self._offer.allows, rest)):
                yield start


def _has_claims(ledger: "Ledger", ports: "Iterable[int]") -> bool:
    return any(is_claimed(ledger.record(port), ledger.now) for port in ports)


def starts_of(numbers: "Iterable[int]", length: int) -> "list[int]":
    """Return the numbers that begin `length` consecutive ones of the set, in descending order."""
    return [port for port, run in _runs(numbers).items() if run >= length]


def longest_run(numbers: "Iterable[int]") -> int:
    """Tell how many consecutive numbers the set has at most."""
    return max(_runs(numbers).values(), default=0)


def _runs(numbers: "Iterable[int]") -> "dict[int, int]":
    """Count how many consecutive numbers of the set begin at each, in descending order."""
    run: dict[int, int] = {}
    for port in sorted(numbers, reverse=True):
        run[port] = run.get(port + 1, 0) + 1
    return run


def by_newest(starts: "Iterable[int]", length: int, ages: "Mapping[int, int]") -> "list[int]":
    """Sort the starts of blocks by the time at which the newest claim in each was made, the oldest first."""
    from collections import deque

    newest: dict[int, int] = {}
    window: deque[int] = deque()  # ports below which no newer claim lies in the block, newest last
    last = LAST + 2
    for start in sorted(starts, reverse=True):
        for port in range(min(start + length, last) - 1, start - 1, -1):
            while window and ages.get(window[0], 0) <= ages.get(port, 0):
                window.popleft()
            window.appendleft(port)
        last = start
        while window[-1] >= start + length:
            window.pop()
        newest[start] = ages.get(window[-1], 0)
    return sorted(newest, key=lambda start: (newest[start], start))
