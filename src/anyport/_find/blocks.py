"""Blocks: consecutive numbers among those that may be offered (pure)."""

from anyport._ports import LAST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


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
