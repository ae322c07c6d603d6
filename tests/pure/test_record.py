"""The bytes of the ledger."""

from hypothesis import given
from hypothesis import strategies as st

from anyport._ledger import record
from anyport._ports import QUIET

NOW = 1_000_000_000
times = st.integers(1, 2**55)
owners = st.integers(0, 2**64 - 1)


@given(st.integers(0, 2**32 - 1), st.integers(0, len(QUIET) - 1))
def test_the_header_comes_back(boot: int, turn: int) -> None:
    """What was packed is read again, and belongs to its boot only."""
    data = record.pack_header(boot, turn)
    assert len(data) == record.SLOT
    assert record.unpack_header(data, boot) == turn
    known = 0 not in (boot, boot ^ 1)
    assert record.unpack_header(data, boot ^ 1) == (None if known else turn), "an unknown boot may be any"


@given(st.binary(max_size=40))
def test_any_bytes_are_a_header_or_none(data: bytes) -> None:
    """Noise is no header, and no error."""
    turn = record.unpack_header(data, 7)
    assert turn is None or 0 <= turn < len(QUIET)


def test_a_header_of_another_version_is_none_of_ours() -> None:
    """The version is the fourth byte."""
    data = record.pack_header(7, 3)
    assert record.unpack_header(data[:3] + b"\x63" + data[4:], 7) is None


@given(times, st.sampled_from([record.GIVEN, record.NAME, 77]), owners)
def test_a_claim_lasts_until_its_deadline(deadline: int, kind: int, owner: int) -> None:
    """A kind that is not known yet counts as claimed."""
    data = record.pack_claim(deadline, kind, owner)
    assert record.deadline_of(data) == deadline
    assert record.is_claimed(data, deadline - 1)
    assert not record.is_claimed(data, deadline)


@given(st.binary(max_size=40), st.integers(0, 2**50), owners)
def test_any_bytes_are_a_claim_or_not(data: bytes, now: int, name: int) -> None:
    """Noise never raises, and hardly ever is a claim: its deadline lies too far away."""
    if record.is_claimed(data, now, name):
        assert now < record.deadline_of(data) <= now + record.LONGEST
        assert record.given_at(data) >= 0


def test_a_deadline_too_far_away_is_noise() -> None:
    """24 hours are the longest claim there is."""
    assert record.is_claimed(record.pack_claim(NOW + record.LONGEST, record.GIVEN, NOW), NOW)
    assert not record.is_claimed(record.pack_claim(NOW + record.LONGEST + 1, record.GIVEN, NOW), NOW)


def test_a_name_does_not_keep_itself_out() -> None:
    """Its claim counts for everybody else."""
    data = record.pack_claim(NOW + 5, record.NAME, record.name_owner(42, NOW))
    assert record.given_at(data) == NOW
    assert record.is_claimed(data, NOW)
    assert record.is_claimed(data, NOW, 43)
    assert not record.is_claimed(data, NOW, 42)
    assert record.is_claimed(record.pack_claim(NOW + 5, record.GIVEN, 42), NOW, 42)


@given(st.dictionaries(st.integers(1, 65535), st.integers(NOW + 1, NOW + 1000), max_size=20))
def test_all_claims_of_a_file_are_read_at_once(claims: dict[int, int]) -> None:
    """By port, with the time at which each was given out; those that are over do not count."""
    data = bytearray(record.pack_header(7, 3).ljust(record.WHOLE, b"\0"))
    for port, deadline in claims.items():
        data[record.offset(port) : record.offset(port) + record.SLOT] = record.pack_claim(deadline, record.GIVEN, port)
    now = NOW + 500
    found = record.claims_in(bytes(data), now, lambda _owner: True)
    assert found == {port: port for port, deadline in claims.items() if deadline > now}
    assert all(record.given_at(record.record_in(bytes(data), port)) == port for port in claims)


def test_the_name_of_a_claim() -> None:
    """Its hash, or 0 if it was given to nobody by name."""
    assert record.name_of(record.pack_claim(NOW, record.NAME, record.name_owner(42, NOW))) == 42
    assert record.name_of(record.pack_claim(NOW, record.GIVEN, 42)) == record.name_of(record.NOTHING) == 0


def test_nothing_and_less_are_unclaimed() -> None:
    """A sparse file reads as zeros, a file that was cut short as nothing."""
    assert not record.is_claimed(record.NOTHING, NOW)
    assert not record.is_claimed(b"", NOW)


def test_every_port_has_a_slot_of_its_own_and_none_the_header() -> None:
    """65,535 offsets within one mebibyte; those of the quiet range in the order of turns."""
    offsets = {record.offset(port) for port in range(1, 65536)}
    assert len(offsets) == 65535
    assert min(offsets) == record.SLOT
    assert max(offsets) + record.SLOT == record.WHOLE == 1 << 20
    assert [record.offset_of_turn(turn) for turn in (0, 1)] == [160_000, 160_016]


@given(st.integers(1, 2**22 - 1), st.integers(0, 2**40), st.integers(0, 1023), st.integers(NOW, NOW + record.LONGEST))
def test_a_process_is_packed_as_far_as_it_is_kept(pid: int, started: int, namespace: int, deadline: int) -> None:
    """The pid whole, the low bits of when it started; and only a record of that kind has one."""
    owner = record.pack_process(pid, started, namespace)
    assert record.unpack_process(owner) == (pid, started & 0xFFFFFFFF, namespace)
    assert record.process_of(record.pack_claim(deadline, record.PROCESS, owner)) == owner
    assert not record.process_of(record.pack_claim(deadline, record.GIVEN, owner))
    assert not record.process_of(record.NOTHING)


def test_a_claim_of_a_dead_process_is_none() -> None:
    """Among all of them, and by turn; the bytes stay as they are."""
    slots = bytearray(record.WHOLE)
    for port, owner in (20000, 7), (80, 8):
        at = record.offset(port)
        slots[at : at + record.SLOT] = record.pack_claim(NOW + 5, record.PROCESS, owner)
    found = {alive: record.claims_in(bytes(slots), NOW, lambda owner: owner == alive) for alive in (0, 7, 8)}  # noqa: B023
    assert {alive: list(ports) for alive, ports in found.items()} == {0: [], 7: [20000], 8: [80]}
    assert record.claims_by_turn(bytes(slots), NOW, lambda owner: owner == 7) == [(NOW + 5, 20000, NOW + 5)]
    assert record.claims_by_turn(bytes(slots), NOW, lambda _owner: False) == []
