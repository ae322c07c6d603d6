"""The order of choice: an unclaimed number before a claimed one, then the one that was given out longest ago."""

from itertools import chain

from anyport._candidates import QUIET, quiet_at, shuffled, turn_of
from anyport._ledger.record import (
    GIVEN,
    SLOT,
    claims_in,
    deadline_of,
    given_at,
    is_claimed,
    pack_claim,
    record_in,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from anyport._ledger.book import Book

    IsQuiet = Callable[[int], bool]
    Reserved = tuple[int, bytes]  # a port, and the record by which it is ours

_LAP = len(QUIET)
_LOOK_AHEAD = 8  # records read before the whole ledger is, which takes 60 us and a megabyte


def unclaimed_first(book: "Book", candidates: "Iterable[int]", name: int = 0) -> "Iterator[tuple[int, bytes]]":
    """(port, its record) in the order of the candidates; those claimed, and not by this name, last and by age."""
    slots = b""
    claimed: list[tuple[int, int, bytes]] = []
    for step, port in enumerate(candidates):
        if step < _LOOK_AHEAD:
            record = book.record(port)
        else:
            slots = slots or book.records()
            record = record_in(slots, port)
        if is_claimed(record, book.now, name):
            claimed.append((given_at(record), port, record))
        else:
            yield port, record
    for _, port, record in sorted(claimed):
        yield port, record


def by_turn(book: "Book", is_quiet: "IsQuiet") -> "Iterator[tuple[int, bytes]]":
    """(port, its record) of the quiet range, each number once before any comes twice.

    One step costs the same however many were given.  When all are claimed (or in use), the claimed ones are sorted by
    age once; from then on the next is the oldest that was not given out again since, until the first of those claims
    ends.  So one that was in use at that time is not looked at again before.
    """
    yield from _by_age(book)
    start = book.turn
    near = min(_LOOK_AHEAD, _LAP - start)
    ahead = book.records_from_turn(near)
    for step in range(near):
        record = ahead[step * SLOT : step * SLOT + SLOT]
        if not is_claimed(record, book.now):
            yield from _take_turn(book, start + step, record, is_quiet)
    slots = book.records()
    claims = claims_in(slots, book.now)
    for turn in chain(range(start + near, _LAP), range(start)):
        if quiet_at(turn) not in claims:
            yield from _take_turn(book, turn, record_in(slots, quiet_at(turn)), is_quiet)
    book.aged = sorted(((given, port) for port, given in claims.items() if is_quiet(port)), reverse=True)
    if book.alone:  # or all who know the same old claims would give the same oldest number
        book.aged = list(shuffled(book.aged))
    book.full_until = min((deadline_of(record_in(slots, port)) for _, port in book.aged), default=0)
    yield from _by_age(book)


def _take_turn(book: "Book", turn: int, record: bytes, is_quiet: "IsQuiet") -> "Iterator[tuple[int, bytes]]":
    port = quiet_at(turn)
    if is_quiet(port):
        book.take_turn((turn + 1) % _LAP)
        yield port, record


def reserve(book: "Book", is_quiet: "IsQuiet", count: int, keep: int) -> "list[Reserved]":
    """Claim the next quiet numbers in one stroke, last turn first; none when by_turn has to look further.

    They are not probed yet: whoever reserves them tries them one by one.
    """
    count = min(count, _LAP - book.turn)  # those after the lap's end are not side by side with these
    ports = [quiet_at(book.turn + step) for step in range(count)]
    ahead = book.records_from_turn(count)
    records = [ahead[at : at + SLOT] for at in range(0, count * SLOT, SLOT)]
    quiet = [at for at in range(count) if is_quiet(ports[at])]
    if not any(is_claimed(records[at], book.now) for at in quiet):
        pass
    elif book.now < book.full_until and _oldest(book, len(quiet)) == [
        (given_at(records[at]), ports[at]) for at in quiet
    ]:
        del book.aged[-len(quiet) :]
    else:
        return []
    for at in quiet:
        deadline = max(book.now + keep, deadline_of(records[at]) if is_claimed(records[at], book.now) else 0)
        records[at] = pack_claim(deadline, GIVEN, book.now + at)  # + at: none was given at the same time
    book.claim_from_turn(b"".join(records))
    book.take_turn((book.turn + count) % _LAP)
    return [(ports[at], records[at]) for at in reversed(quiet)]


def renew(book: "Book", reserved: "list[Reserved]", keep: int) -> "list[Reserved]":
    """Claim again what was reserved and not used, as far as nobody else has been given it since."""
    still_ours = [(port, record) for port, record in reserved if book.record(port) == record]
    for port, record in still_ours:
        book.claim(port, keep, GIVEN, book.now, record)
    return [(port, book.record(port)) for port, _ in still_ours]


def _oldest(book: "Book", count: int) -> "list[tuple[int, int]]":
    return book.aged[: -count - 1 : -1]


def _by_age(book: "Book") -> "Iterator[tuple[int, bytes]]":
    while book.aged and book.now < book.full_until:
        given, port = book.aged.pop()
        record = book.record(port)
        if given_at(record) == given:
            book.take_turn((turn_of(port) + 1) % _LAP)
            yield port, record
