"""Candidates: which numbers are tried, in which order (pure: no socket, no file; chance comes in as a function)."""

import os

from anyport._ports import BAD_PORTS, LAST, SERVICES, PortSet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import TypeVar

    from anyport._linux.sysctl import PortSettings

    T = TypeVar("T")

# Above what people type by hand, below Kubernetes' NodePorts (30000-32767) and the default ephemeral range (32768-).
QUIET = range(10000, 30000)

# A step that visits each of 20,000 = 2**5 * 5**4 numbers once must be odd and no multiple of 5.  This one lies near
# 20,000 / golden ratio, so numbers given in a row lie far apart: a program that takes `port + 1` as well does not meet
# the next caller.
_STEP = 12361
_SIZE = len(QUIET)
_STEP_BACK = pow(_STEP, -1, _SIZE)


def quiet_at(turn: int) -> int:
    """The number whose turn it is: for turn = 0, 1, ... 19,999 each of 10000-29999 once, and then over again."""
    return QUIET.start + turn * _STEP % _SIZE


def turn_of(port: int) -> int:
    """The turn of a number of 10000-29999: the other way round."""
    return (port - QUIET.start) * _STEP_BACK % _SIZE


class Offer:
    """What may be offered unasked: no reserved, no bad port; and which of it lies in the quiet range."""

    __slots__ = ("_excluded", "_high", "_low", "_never", "_not_quiet", "has_quiet")

    def __init__(self, settings: "PortSettings", exclude: "Iterable[int]" = ()) -> None:
        self._low = settings.low
        self._high = settings.high
        self._excluded = frozenset(exclude)
        self._never = BAD_PORTS | settings.reserved | self._excluded
        self._not_quiet = self._never | SERVICES
        self.has_quiet = any(map(self.is_quiet, QUIET))

    def allows(self, port: int, *, named: bool = False) -> bool:
        """Whether the number may be offered; one that was named explicitly is kept back only if it is excluded."""
        return port not in (self._excluded if named else self._never)

    def is_quiet(self, port: int) -> bool:
        """Whether neither the kernel gives this number away nor a well-known service lives there."""
        return port in QUIET and not self._low <= port <= self._high and port not in self._not_quiet


_offers: "list[tuple[PortSettings, Offer]]" = []


def offer_of(settings: "PortSettings", exclude: "Iterable[int]" = ()) -> Offer:
    """The Offer of these settings; without exclusions it is kept, for making it takes as long as a probe."""
    excluded = frozenset(exclude)
    if excluded:
        return Offer(settings, excluded)
    for known, offer in _offers:
        if known is settings:
            return offer
    made = Offer(settings)
    _offers[:] = [(settings, made)]
    return made


def shuffled(numbers: "list[T]", chance: "Callable[[int], bytes]" = os.urandom) -> "Iterator[T]":
    """The numbers in random order, drawn one at a time (Fisher and Yates); `numbers` is used up."""
    for left in range(len(numbers), 0, -1):
        at = int.from_bytes(chance(8), "little") % left
        numbers[at], numbers[left - 1] = numbers[left - 1], numbers[at]
        yield numbers[left - 1]


def out_of(ports: PortSet, offer: Offer) -> "list[int]":
    """The members that may be offered; those written one by one are named explicitly, so they may."""
    return [port for port in ports if offer.allows(port, named=port in ports.named)]


def in_order_of_name(digest: bytes, is_ephemeral: "Callable[[int], bool]", offer: Offer) -> "Iterator[int]":
    """The quiet range in an order that this name alone decides; what is ephemeral on this machine comes last.

    The order is that of the quiet range with the kernel's default settings, so it does not move when one changes.
    """
    seed = int.from_bytes(digest[:8], "little")
    step = int.from_bytes(digest[8:16], "little") % _SIZE | 1
    if step % 5 == 0:
        step += 2
    for last in (False, True):
        for turn in range(_SIZE):
            port = QUIET.start + (seed + turn * step) % _SIZE
            if is_ephemeral(port) is last and port not in SERVICES and offer.allows(port):
                yield port


def starts_of(numbers: "Iterable[int]", length: int) -> "list[int]":
    """The numbers that begin `length` consecutive ones of the set, in descending order."""
    return [port for port, run in _runs(numbers).items() if run >= length]


def longest_run(numbers: "Iterable[int]") -> int:
    """How many consecutive numbers the set has at most."""
    return max(_runs(numbers).values(), default=0)


def _runs(numbers: "Iterable[int]") -> "dict[int, int]":
    """How many consecutive numbers of the set begin at each, in descending order."""
    run: dict[int, int] = {}
    for port in sorted(numbers, reverse=True):
        run[port] = run.get(port + 1, 0) + 1
    return run


def by_newest(starts: "Iterable[int]", length: int, ages: "Mapping[int, int]") -> "list[int]":
    """The starts of blocks by the time at which the newest claim in each was made, the oldest first."""
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
