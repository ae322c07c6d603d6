"""The order of choice: an unclaimed number before a claimed one, then the one that was given out longest ago.

Theory.  The quiet range has 20,000 numbers, and whoever asks may have any of them.  Looking through all records for the
best one would read a megabyte for each answer.  So the numbers stand in a fixed order, their *turns*
(`_ports.quiet_at`), and the header says whose turn it is.  Once around is a *lap*: in it each number is given once
before any is given twice, and the next one is found at the place where the turn stands, at the same price however many
were given.

That does as long as the number whose turn it is is unclaimed, and in the order of age too, for what was given a lap ago
was given longest ago.  It does not when claims are in the way: long ones, those of names and processes, those left by
a lap that took less than a minute.  A few records ahead are read at once (`_LOOK_AHEAD`).  If none of them will do, a
*survey* looks through the whole ledger: which numbers are unclaimed, in which order the others were given, and until
when that stays so, which is when the first of the claims ends.  It takes some milliseconds, and asks of each claim of a
process whether that lives, so it is made without the lock: a walk that comes to its end for want of one says so
(`Walk.needs_survey`), and whoever has the lock releases it, calls `survey`, and locks and walks again.  By then others
may have been given what it has seen; so each record is looked at again before its number is given, and if all that was
unclaimed is gone, the survey is made once more, now under the lock.

When nothing is unclaimed, numbers are given by age.  The ages of the survey (`_aged`) then serve many callers, one pop
each, until the first claim ends (`_full_until`): as long as all is claimed, and each given number is the newest, the
order of those that were not given since is still right.  A record that changed meanwhile is passed over.

`reserve` claims several next numbers in one stroke, for a process that asks often.  They lie side by side in the file,
so it is one read and one write.  It may take them only if one by one they would have been next as well: all unclaimed,
or all of them the oldest, in the order of their ages.  As much of the row as is so is taken, and nothing is taken where
a walk has to look further.

Rules for whoever edits this:

- A number is given by what its record says under the lock.  A survey only proposes.
- A deadline is never brought forward, and nobody else's record is touched.
- Whether a claim's process lives is asked by walks, never by `reserve`: every call of a loop waits for that.
- Each claim of a row has a time of its own (`now`, `now` + 1, ...), in the order of turns, or the next lap has to look
  for them one by one; `renew` keeps that order.
- tests/process/ledger/test_turns.py plays all this against a model; a change of the order is a change of the model.
"""

from anyport._clock import boot_microseconds
from anyport._ledger.book import Book
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
    from typing import Self

    from anyport._ledger.file import Opener

    IsQuiet = Callable[[int], bool]
    Offered = Iterator[tuple[int, bytes]]  # ports, each with its record
    Reserved = tuple[int, bytes]  # a port, and the record by which it is ours
    Survey = tuple[list[int], list[tuple[int, int]], int]  # unclaimed; (when given, port), the oldest last; good until

_LAP = len(QUIET)
_LOOK_AHEAD = 8  # records read before the whole ledger is, which takes 60 us and a megabyte


class Walk:
    """One caller's way through the turns.

    `needs_survey` says that it came to its end because nobody has looked through the whole ledger for it yet.
    """

    __slots__ = ("is_quiet", "needs_survey", "seen")

    def __init__(self, is_quiet: "IsQuiet") -> None:
        self.is_quiet = is_quiet
        self.needs_survey = False
        self.seen: Survey | None = None


class Ledger(Book):
    """A book whose quiet numbers are given in turn.  All but `survey` is for whoever has acquired it."""

    __slots__ = ("_aged", "_full_until")

    def __init__(self, opener: "Opener", *, alone: bool = False, former: "Self | None" = None) -> None:
        super().__init__(opener, alone=alone, former=former)
        self._aged: list[tuple[int, int]] = []  # (when given, port), the oldest last
        self._full_until = 0

    def unclaimed_first(self, candidates: "Iterable[int]", name: int = 0) -> "Offered":
        """Yield (port, its record) in the order of the candidates; those claimed, and not by this name, last by age."""
        slots = b""
        claimed: list[tuple[int, int, bytes]] = []
        for step, port in enumerate(candidates):
            if step < _LOOK_AHEAD:
                record = self.record(port)
            else:
                slots = slots or self.records()
                record = record_in(slots, port)
            if is_claimed(record, self.now, name):
                claimed.append((given_at(record), port, record))
            else:
                yield port, record
        for _, port, record in sorted(claimed):
            yield port, record

    def by_turn(self, walk: Walk) -> "Offered":
        """Yield (port, its record) of the quiet range, each number once before any comes twice.

        It ends early, and the walk says so, where a survey is needed that was not made yet.
        """
        yield from self._by_age(walk.is_quiet)
        yield from self._near(walk.is_quiet)
        if walk.seen is None:
            walk.needs_survey = True
            return
        yield from self._surveyed(walk.is_quiet, walk.seen)
        yield from self._surveyed(walk.is_quiet, self._look_through(walk.is_quiet))  # all of that was given since

    def survey(self, walk: Walk) -> None:
        """Look through the whole ledger for this walk, without the lock."""
        walk.seen, walk.needs_survey = self._look_through(walk.is_quiet), False

    def reserve(self, is_quiet: "IsQuiet", count: int, keep: int) -> "list[Reserved]":
        """Claim the next quiet numbers in one stroke, last turn first; none when a walk has to look further.

        Fewer if only so many are the next ones by their age, too.  They are not probed yet: whoever reserves them tries
        them one by one.
        """
        count = min(count, _LAP - self.turn)  # those after the lap's end are not side by side with these
        ahead = self.records_from_turn(count)
        claims = claims_in_row(ahead, self.now, lambda _owner: True)
        turns = enumerate(zip(map(quiet_at, range(self.turn, self.turn + count)), claims, strict=True))
        quiet = [(at, port, given, deadline) for at, (port, (given, deadline)) in turns if is_quiet(port)]
        good = self._how_many_next(quiet)
        if good < len(quiet):
            if not good:
                return []
            count = quiet[good][0]
            del quiet[good:]
        return self._claim_row(quiet, ahead[: count * SLOT], keep)

    def _claim_row(self, quiet: "Sequence[tuple[int, int, int, int]]", ahead: bytes, keep: int) -> "list[Reserved]":
        until = self.now + keep
        records = [ahead[at : at + SLOT] for at in range(0, len(ahead), SLOT)]
        reserved: list[Reserved] = []
        turn = self.turn
        self.take_turn((turn + len(records)) % _LAP)  # at once: a signal handler begins behind them
        for at, port, _, deadline in quiet:
            self.take(port)
            records[at] = record = pack_claim(max(until, deadline), GIVEN, self.now + at)
            reserved.append((port, record))
        self.claim_from_turn(turn, b"".join(records))
        reserved.reverse()
        return reserved

    def renew(self, reserved: "list[Reserved]", keep: int) -> "list[Reserved]":
        """Claim again what was reserved and not used, as far as nobody else has been given it since."""
        still_ours = [(port, record) for port, record in reserved if self.record(port) == record]
        for at, (port, record) in enumerate(reversed(still_ours)):
            self.claim(port, keep, GIVEN, self.now + at, record)
        return [(port, self.record(port)) for port, _ in still_ours]

    def _how_many_next(self, quiet: "Sequence[tuple[int, int, int, int]]") -> int:
        """Tell how many of these, from the first on, are next: all unclaimed, or all the oldest, which are used up.

        One that is a process's is not among them: it counts as given when its claim will end.
        """
        if not (quiet and quiet[0][3]):
            return next((at for at, (_, _, _, deadline) in enumerate(quiet) if deadline), len(quiet))
        good = 0
        if self.now < self._full_until:
            for (_, port, given, _), oldest in zip(quiet, reversed(self._aged), strict=False):
                if oldest != (given, port) or given > self.now:
                    break
                good += 1
            del self._aged[len(self._aged) - good :]
        return good

    def _near(self, is_quiet: "IsQuiet") -> "Offered":
        """Yield those of the next few turns that are unclaimed."""
        near = min(_LOOK_AHEAD, _LAP - self.turn)
        start, ahead = self.turn, self.records_from_turn(near)
        for step in range(near):
            port, record = quiet_at(start + step), ahead[step * SLOT : step * SLOT + SLOT]
            if is_quiet(port) and not is_claimed(record, self.now):
                yield self._take(port, record)

    def _by_age(self, is_quiet: "IsQuiet") -> "Offered":
        """Yield those that were given out longest ago, as long as nothing is unclaimed."""
        while self._aged and self.now < self._full_until:
            given, port = self._aged.pop()
            record = self.record(port)
            if given_at(record) == given and is_quiet(port):
                yield self._take(port, record)

    def _look_through(self, is_quiet: "IsQuiet") -> "Survey":
        """Read the whole ledger: what is unclaimed, by turn; what is not, by age; when that may change."""
        claims = claims_by_turn(self.readable(), boot_microseconds(), lives)
        left = filter(is_quiet, set(QUIET).difference([port for _, port, _ in claims]))
        unclaimed = sorted(left, key=lambda port: (turn_of(port) - self.turn) % _LAP)
        aged = sorted([(given, port) for given, port, _ in claims], reverse=True)
        # Alone: or all who know the same old claims would give the same oldest number.
        return unclaimed, list(shuffled(aged)) if self.alone else aged, min((end for _, _, end in claims), default=0)

    def _surveyed(self, is_quiet: "IsQuiet", seen: "Survey") -> "Offered":
        """Yield what a survey found unclaimed, as far as it still is, and then by age."""
        unclaimed, aged, until = seen
        for port in unclaimed:
            record = self.record(port)
            if not is_claimed(record, self.now):
                yield self._take(port, record)
        self._aged, self._full_until = aged, until  # not before: while there are others, age does not count
        yield from self._by_age(is_quiet)

    def _take(self, port: int, record: bytes) -> "tuple[int, bytes]":
        self.take_turn((turn_of(port) + 1) % _LAP)
        return port, record
