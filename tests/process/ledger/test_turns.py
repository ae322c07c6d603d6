"""The order of choice against a model: several processes' books on one ledger, in a quiet range of a few numbers."""

import os
import random
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from anyport._ledger import book as book_module
from anyport._ledger import record, turns
from anyport._ledger.turns import Ledger, Walk
from anyport._ports import quiet_at

SECOND = 1_000_000
Locked = tuple[Ledger, Callable[[], list[tuple[int, bytes]]]]


class Players:
    """Three books that take turns in random order, on a clock that the test moves."""

    def __init__(self, path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.chance = random.Random(seed)
        self.now = 1_000 * SECOND
        self.reserved = 0
        monkeypatch.setattr(book_module, "boot_microseconds", lambda: self.now)
        monkeypatch.setattr(turns, "boot_microseconds", lambda: self.now)
        self.quiet = {
            quiet_at(turn) for turn in range(self.chance.choice([12, 50]))
        }  # side by side, as all are at length
        self.books = [Ledger(lambda: (os.open(path, os.O_RDWR | os.O_CREAT), str(path), False)) for _ in range(3)]

    def play(self) -> None:
        """One caller comes, after some time."""
        self.now += self.chance.choice([100] * 6 + [1_000, SECOND // 10, SECOND, 15 * SECOND])
        keep = self.chance.choice([5, 60, 60, 60]) * SECOND
        book = self.books[0] if self.chance.random() < 0.7 else self.chance.choice(self.books)
        book.acquire()
        try:
            before = self.claims(book)
            given = self.reserve(book, keep) if self.chance.random() < 0.5 else self.one(book, keep)
            self.check(before, given, self.claims(book), keep)
        finally:
            book.release()

    def claims(self, book: Ledger) -> dict[int, tuple[int, int]]:
        """Deadline and age of each claimed quiet number."""
        slots = book.records()
        found = ((port, record.record_in(slots, port)) for port in self.quiet)
        return {p: (record.deadline_of(r), record.given_at(r)) for p, r in found if record.is_claimed(r, book.now)}

    def reserve(self, book: Ledger, keep: int) -> list[int]:
        count = self.chance.choice([1, 2, 4, 8])
        ports = [port for port, _ in book.reserve(self.quiet.__contains__, count, keep)]
        self.reserved += len(ports)
        return ports[::-1] or self.one(book, keep)

    def one(self, book: Ledger, keep: int) -> list[int]:
        walk = Walk(self.quiet.__contains__)
        found = next(book.by_turn(walk), None)
        if found is None:
            assert walk.needs_survey
            book.survey(walk)
            found = next(book.by_turn(walk))
        port, old = found
        book.claim(port, keep, record.GIVEN, book.now, old)
        return [port]

    def check(
        self, before: dict[int, tuple[int, int]], given: list[int], after: dict[int, tuple[int, int]], keep: int
    ) -> None:
        assert given
        assert len(set(given)) == len(given)
        assert set(given) <= self.quiet
        if len(before) < len(self.quiet):
            assert not set(given) & before.keys(), "a claimed number was given while another was not claimed"
        else:
            ages = sorted((age, port) for port, (_, age) in before.items())
            assert given == [port for _, port in ages[: len(given)]], "not the ones given longest ago"
        for port in given:
            assert after[port][0] >= max(self.now + keep, before.get(port, (0, 0))[0]), "a deadline was brought forward"
        assert {port: after.get(port) for port in before if port not in given} == {
            port: before[port] for port in before if port not in given
        }, "somebody else's claim was changed"


@pytest.mark.parametrize("seed", range(6))
def test_the_order_of_choice(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unclaimed before claimed, then the oldest; no deadline brought forward; nobody else's record touched."""
    players = Players(tmp_path / "model", seed, monkeypatch)
    for _ in range(250):
        players.play()


def test_the_model_is_pressed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With these odds there are times when all are claimed, and times when they are not: both rules are tried."""
    players = Players(tmp_path / "model", 0, monkeypatch)
    full = []
    for _ in range(250):
        players.play()
        book = players.books[0]
        book.acquire()
        full.append(len(players.claims(book)) == len(players.quiet))
        book.release()
    assert players.reserved > 100
    assert any(full)
    assert sum(one != other for one, other in pairwise(full)) > 4


@pytest.fixture
def locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Iterator[Locked]":
    """A book at its first turn, and what reserves eight numbers in it."""
    players = Players(tmp_path / "model", 1, monkeypatch)
    book = players.books[0]
    book.acquire()
    book.take_turn(0)
    yield book, lambda: book.reserve(players.quiet.__contains__, 8, 60 * SECOND)
    book.release()


def test_a_row_is_reserved_up_to_the_first_that_is_not_next(locked: Locked) -> None:
    """Not given up as a whole: what follows is looked for one by one."""
    book, reserve = locked
    book.claim(quiet_at(book.turn + 3), 60 * SECOND, record.GIVEN, book.now, record.NOTHING)
    reserved = reserve()
    assert [port for port, _ in reserved] == [quiet_at(book.turn - step) for step in (1, 2, 3)]
    assert reserve() == []


def test_what_is_claimed_anew_stays_in_the_order_of_turns(locked: Locked) -> None:
    """Else it would be out of turn in every lap from then on."""
    book, reserve = locked
    reserved = reserve()
    again = book.renew(reserved, 60 * SECOND)
    assert (
        [port for port, _ in again] == [port for port, _ in reserved] == [quiet_at(turn) for turn in range(7, -1, -1)]
    )
    ages = [record.given_at(each) for _, each in again]  # the last turn first
    assert all(one > other for one, other in pairwise(ages))
