"""The numbers of a portserver: which is given next, to whom, and what the ledger says of it."""

import contextlib
import os
import select
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from anyport._address import TCP, UDP
from anyport._clock import boot_microseconds
from anyport._find.probe import Probe, endpoints
from anyport._ledger import record
from anyport._ledger.book import Book
from anyport._ledger.owner import owner_of
from anyport._serve import pool
from anyport._serve.owners import Owners
from anyport._serve.pool import Pool
from helpers.serving import another_process, claims
from helpers.support import bound

ME, OTHER = owner_of(os.getpid()) or 0, 77

Make = Callable[..., Pool]


@pytest.fixture
def make() -> Iterator[Make]:
    """A pool of these numbers, in this order."""
    made: list[Pool] = []

    def make_one(*ports: int, holding: bool = False) -> Pool:
        probe = Probe(endpoints((), (TCP, UDP)), holding=holding)
        made.append(Pool(ports, probe, lambda *told: pytest.fail(" ".join(told)), holding=holding))
        return made[-1]

    yield make_one
    for each in made:
        each.close()


def test_the_number_that_was_given_back_longest_ago_comes_next(make: Make) -> None:
    """So whoever still talks to the last owner's server has time to notice."""
    numbers = make(20300, 20301, 20302)
    assert [numbers.give(owner) for owner in (ME, OTHER, ME)] == [20300, 20301, 20302]
    assert numbers.take_back([OTHER]) == [(OTHER, 20301)]
    assert numbers.take_back([ME]) == [(ME, 20300), (ME, 20302)]
    assert [numbers.give(ME) for _ in range(3)] == [20301, 20300, 20302]
    assert numbers.give(ME) == 0
    assert claims() == dict.fromkeys((20300, 20301, 20302), os.getpid())


def test_one_that_was_never_heard_of_is_free_again(make: Make) -> None:
    """Only that one; and nothing happens to what is not that process's."""
    numbers = make(20300, 20301)
    numbers.give(ME), numbers.give(ME)
    numbers.take_one_back(ME, 20300)
    numbers.take_one_back(ME, 20300)
    numbers.take_one_back(OTHER, 20301)
    assert (numbers.owned, numbers.free, numbers.given) == ({ME: [20301]}, 1, 1)
    assert claims() == {20301: os.getpid()}


def test_one_in_use_is_passed_over_and_comes_last(make: Make) -> None:
    """It is tried again only when the others are used up."""
    numbers = make(20300, 20301, 20302)
    with bound("127.0.0.1", 20300):
        assert numbers.give(ME) == 20301
    assert [numbers.give(ME), numbers.give(ME)] == [20302, 20300]


def test_when_none_can_be_had_all_are_not_tried_at_every_request(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """But after a tenth of a second, or when one is given back."""
    numbers = make(20300)
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with bound("127.0.0.1", 20300):
        assert numbers.give(ME) == 0
    assert numbers.give(ME) == 0
    now += 0.2
    assert numbers.give(ME) == 20300
    assert numbers.give(ME) == 0
    numbers.take_back([ME])
    assert numbers.give(ME) == 20300


def test_what_another_servers_process_has_is_not_given(make: Make) -> None:
    """Pools may overlap: the ledger is the same."""
    with another_process() as process:
        assert make(20300).give(owner_of(process.pid) or 0) == 20300
        assert make(20300).give(ME) == 0
    assert make(20300).give(ME) == 20300


def test_a_pool_larger_than_a_look_finds_the_last_one(make: Make) -> None:
    """Also if all before it are claimed by others."""
    with another_process() as process:
        other = make(*range(20300, 20400))
        owner = owner_of(process.pid) or 0
        for _ in range(99):
            other.give(owner)
        assert make(*range(20300, 20400)).give(ME) == 20399
        assert make(*range(20300, 20400)).give(ME) == 0


def test_claims_are_renewed(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as their process lives, however long that is."""
    numbers = make(20300)
    monkeypatch.setattr(pool, "_KEEP", 1_000_000)
    numbers.give(ME)
    slots = [ledger()]
    monkeypatch.setattr(pool, "_KEEP", 50_000_000)
    numbers.renew()
    slots.append(ledger())
    first, second = (record.deadline_of(record.record_in(each, 20300)) for each in slots)
    assert 40_000_000 < second - first < 60_000_000


def ledger() -> bytes:
    with open(os.environ["ANYPORT_LEDGER"], "rb") as file:
        return file.read()


def test_what_somebody_else_wrote_over_a_claim_is_left_alone(make: Make) -> None:
    """At the end, and when claims are renewed."""
    numbers = make(20300)
    numbers.give(ME)
    claim = record.pack_claim(record.deadline_of(record.record_in(ledger(), 20300)), record.GIVEN, 7)
    with open(os.environ["ANYPORT_LEDGER"], "r+b") as file:
        file.seek(record.offset(20300))
        file.write(claim)
    numbers.renew()
    numbers.take_back([ME])
    assert record.record_in(ledger(), 20300) == claim


def test_what_is_held_is_let_go_with_its_owner(make: Make) -> None:
    """And an owner that another server knew is taken over, with a hold."""
    first = make(20300, holding=True)
    assert first.give(ME) == 20300
    with pytest.raises(OSError, match="in use"):
        bound("127.0.0.1", 20300)
    first.close()
    second = make(20300, 20301, holding=True)
    assert second.recall(lambda owner: owner == ME) == 1
    assert (second.owned, second.free, second.descriptors) == ({ME: [20300]}, 1, 1)
    with pytest.raises(OSError, match="in use"):
        bound("127.0.0.1", 20300)
    second.take_back([ME])
    bound("127.0.0.1", 20300).close()


def test_what_dead_owners_left_is_cleared_at_the_start(make: Make) -> None:
    """And free."""
    make(20300).give(record.pack_process(4194303, 1, record.unpack_process(ME)[2]))
    numbers = make(20300)
    assert numbers.recall(lambda _owner: False) == 0
    assert claims() == {}
    assert numbers.free == 1


def test_what_a_process_of_another_pid_namespace_has_is_left_alone_at_the_start(make: Make) -> None:
    """Its number is another process's here, or nobody's: it can neither be watched, nor be told dead."""
    owner = ME ^ 1
    make(20300).give(owner)
    numbers = make(20300)
    assert numbers.recall(lambda owner: pytest.fail(f"{owner} was to be watched")) == 0
    assert (numbers.owned, claims(), numbers.give(ME)) == ({}, {20300: os.getpid()}, 0)


def test_what_is_recalled_is_claimed_for_another_day(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server may have been gone for most of one."""
    monkeypatch.setattr(pool, "_KEEP", 1_000_000)
    make(20300).give(ME)
    before = record.deadline_of(record.record_in(ledger(), 20300))
    monkeypatch.setattr(pool, "_KEEP", 50_000_000)
    make(20300).recall(lambda _owner: True)
    assert record.deadline_of(record.record_in(ledger(), 20300)) > before + 40_000_000


@pytest.mark.parametrize("lose", [os.unlink, lambda path: os.truncate(path, 0)])
def test_what_the_ledger_has_lost_is_claimed_again(make: Make, lose: Callable[[str], None]) -> None:
    """At the next renewal."""
    numbers = make(20300)
    numbers.give(ME)
    lose(os.environ["ANYPORT_LEDGER"])
    numbers.renew()
    assert claims() == {20300: os.getpid()}


def test_a_pid_that_is_a_threads_by_now_is_no_living_owner() -> None:
    """Kernels have two errors for it."""
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    with contextlib.closing(select.epoll()) as epoll:
        assert not Owners(epoll).adopt(record.pack_process(thread.native_id or 0, 1, record.unpack_process(ME)[2]))
    end.set()
    thread.join()


def test_a_number_that_somebody_else_got_meanwhile_is_claimed_after_him(make: Make) -> None:
    """`renew` says that not all is claimed yet, so it is asked again."""
    numbers = make(20300)
    numbers.give(ME)
    assert numbers.renew()
    port, now = 20300, boot_microseconds()
    for deadline, whole in ((now + 60_000_000, False), (now, True)):
        with open(os.environ["ANYPORT_LEDGER"], "r+b") as file:
            file.seek(record.offset(port))
            file.write(record.pack_claim(deadline, record.GIVEN, 7))
        assert numbers.renew() is whole
    assert claims() == {20300: os.getpid()}


def test_a_choice_that_is_made_anew_holds_one_number(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger was removed while the first choice was written to it: that number is chosen again, and held once."""
    numbers = make(20300, 20301, holding=True)
    really, left = Book.claim, [1]

    def removed_after(self: Book, port: int, keep: int, kind: int, owner: int, old: bytes) -> None:
        really(self, port, keep, kind, owner, old)
        if left:
            left.pop()
            os.unlink(self.path)

    monkeypatch.setattr(Book, "claim", removed_after)
    given = numbers.give(ME)
    assert numbers._probe.held.keys() == {given}
    assert (numbers.free, numbers.given) == (1, 1)
    assert given in claims()
