"""The order of choice: an unclaimed number before a claimed one, then the one that was given out longest ago."""

from anyport._clock import boot_microseconds
from anyport._ledger.owner import is_claimed, lives
from anyport._ledger.record import (
    GIVEN,
    SLOT,
    claims_by_turn,
    claims_in_row,
    given_at,
    pack_claim,
    record_in,
)
from anyport._ports import QUIET, quiet_at, shuffled, turn_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from anyport._ledger.book import Book

    IsQuiet = Callable[[int], bool]
    Reserved = tuple[int, bytes]  # a port, and the record by which it is ours
    Survey = tuple[list[int], list[tuple[int, int]], int]  # unclaimed; (when given, port), the oldest last; good until

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


class SurveyNeeded(Exception):
    """The next numbers are claimed: somebody must look through the whole ledger, which is no work for a lock."""


def by_turn(book: "Book", is_quiet: "IsQuiet", seen: "Survey | None" = None) -> "Iterator[tuple[int, bytes]]":
    """(port, its record) of the quiet range, each number once before any comes twice.

    One step costs the same however many were given.  When the next ones are claimed, SurveyNeeded is raised: what
    `survey` has seen, without the lock, then says which are not, and which of the others were given longest ago.  From
    then on the next is the oldest that was not given out again since, until the first of those claims ends.  (One that
    was in use at that time is not looked at again before.)
    """
    yield from _by_age(book, is_quiet)
    near = min(_LOOK_AHEAD, _LAP - book.turn)
    start, ahead = book.turn, book.records_from_turn(near)
    for step in range(near):
        port, record = quiet_at(start + step), ahead[step * SLOT : step * SLOT + SLOT]
        if is_quiet(port) and not is_claimed(record, book.now):
            yield _take_turn(book, port, record)
    if seen is None:
        raise SurveyNeeded
    yield from _seen(book, is_quiet, seen)
    yield from _seen(book, is_quiet, survey(book, is_quiet))  # all of that was given since: now under the lock


def survey(book: "Book", is_quiet: "IsQuiet") -> "Survey":
    """Look through the whole ledger: what is unclaimed, by turn, what is not, by age, and when that may change.

    It needs no lock: each record is looked at again before its number is given.
    """
    claims = claims_by_turn(book.readable(), boot_microseconds(), lives)
    left = filter(is_quiet, set(QUIET).difference([port for _, port, _ in claims]))
    unclaimed = sorted(left, key=lambda port: (turn_of(port) - book.turn) % _LAP)
    aged = sorted([(given, port) for given, port, _ in claims], reverse=True)
    # Alone: or all who know the same old claims would give the same oldest number.
    return unclaimed, list(shuffled(aged)) if book.alone else aged, min((end for _, _, end in claims), default=0)


def _seen(book: "Book", is_quiet: "IsQuiet", seen: "Survey") -> "Iterator[tuple[int, bytes]]":
    unclaimed, aged, until = seen
    for port in unclaimed:
        record = book.record(port)
        if not is_claimed(record, book.now):
            yield _take_turn(book, port, record)
    book.aged, book.full_until = aged, until  # not before: while there are others, age does not count
    yield from _by_age(book, is_quiet)


def _take_turn(book: "Book", port: int, record: bytes) -> "tuple[int, bytes]":
    book.take_turn((turn_of(port) + 1) % _LAP)
    return port, record


def reserve(book: "Book", is_quiet: "IsQuiet", count: int, keep: int) -> "list[Reserved]":
    """Claim the next quiet numbers in one stroke, last turn first; none when by_turn has to look further.

    Fewer if only so many are the next ones by their age, too.  They are not probed yet: whoever reserves them tries
    them one by one.
    """
    count = min(count, _LAP - book.turn)  # those after the lap's end are not side by side with these
    now, until = book.now, book.now + keep
    ahead = book.records_from_turn(count)
    # Whether the owner of a claim lives is not asked here, for every call of a loop waits for this: by_turn does.
    claims = claims_in_row(ahead, now, lambda _owner: True)
    turns = enumerate(zip(map(quiet_at, range(book.turn, book.turn + count)), claims, strict=True))
    quiet = [(at, port, given, deadline) for at, (port, (given, deadline)) in turns if is_quiet(port)]
    good = _how_many_next(book, quiet)
    if good < len(quiet):
        if not good:
            return []
        count = quiet[good][0]
        del quiet[good:]
    records = [ahead[at : at + SLOT] for at in range(0, count * SLOT, SLOT)]
    reserved: list[Reserved] = []
    for at, port, _, deadline in quiet:
        records[at] = record = pack_claim(max(until, deadline), GIVEN, now + at)  # + at: no two at the same time
        reserved.append((port, record))
    book.claim_from_turn(b"".join(records))
    book.take_turn((book.turn + count) % _LAP)
    reserved.reverse()
    return reserved


def _how_many_next(book: "Book", quiet: "Sequence[tuple[int, int, int, int]]") -> int:
    """How many of these, from the first on, are the next to be given: all unclaimed, or all the oldest, which are used.

    One that is a process's is not among them: it counts as given when its claim will end.
    """
    if not (quiet and quiet[0][3]):
        return next((at for at, (_, _, _, deadline) in enumerate(quiet) if deadline), len(quiet))
    good = 0
    if book.now < book.full_until:
        for (_, port, given, _), oldest in zip(quiet, reversed(book.aged), strict=False):
            if oldest != (given, port) or given > book.now:
                break
            good += 1
        del book.aged[len(book.aged) - good :]
    return good


def renew(book: "Book", reserved: "list[Reserved]", keep: int) -> "list[Reserved]":
    """Claim again what was reserved and not used, as far as nobody else has been given it since.

    In the order of turns: what is given out of turn once is so in each lap, and then has to be looked for one by one.
    """
    still_ours = [(port, record) for port, record in reserved if book.record(port) == record]
    for at, (port, record) in enumerate(reversed(still_ours)):
        book.claim(port, keep, GIVEN, book.now + at, record)
    return [(port, book.record(port)) for port, _ in still_ours]


def _by_age(book: "Book", is_quiet: "IsQuiet") -> "Iterator[tuple[int, bytes]]":
    while book.aged and book.now < book.full_until:
        given, port = book.aged.pop()
        record = book.record(port)
        if given_at(record) == given and is_quiet(port):
            yield _take_turn(book, port, record)
