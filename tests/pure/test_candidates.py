"""Which numbers are tried, in which order."""

from hypothesis import given
from hypothesis import strategies as st

from anyport._find.blocks import by_newest, starts_of
from anyport._find.candidates import Offer, in_order_of_name, out_of
from anyport._find.names import digest
from anyport._linux.sysctl import PortSettings
from anyport._ports import BAD_PORTS, QUIET, SERVICES, parse_ports, quiet_at, shuffled, turn_of

DEFAULTS = PortSettings(32768, 60999, frozenset())
OFFER = Offer(DEFAULTS)


def test_the_turns_visit_every_number_once() -> None:
    """20,000 turns, 20,000 numbers, and the way back."""
    order = [quiet_at(turn) for turn in range(len(QUIET))]
    assert sorted(order) == list(QUIET)
    assert [turn_of(port) for port in order] == list(range(len(QUIET)))
    assert quiet_at(len(QUIET)) == quiet_at(0)


def test_numbers_given_in_a_row_lie_far_apart() -> None:
    """Nobody who takes `port + 1` too meets the next few hundred callers."""
    order = [quiet_at(turn) for turn in range(100)]
    assert min(abs(one - other) for one in order for other in order if one != other) > 50


def test_the_quiet_range_has_nothing_that_others_use() -> None:
    """No ephemeral, reserved, bad or famous number, and none of Kubernetes' NodePorts."""
    offer = Offer(PortSettings(29000, 60999, frozenset({12345})), exclude={12346})
    quiet = set(filter(offer.is_quiet, range(1, 65536)))
    assert quiet == set(range(10000, 29000)) - BAD_PORTS - SERVICES - {12345, 12346}
    assert len(set(filter(OFFER.is_quiet, QUIET))) > 19_900


def test_an_ephemeral_range_over_everything_leaves_no_quiet_range() -> None:
    """1024-65535 is a setting that people have."""
    assert not Offer(PortSettings(1024, 65535, frozenset())).has_quiet
    assert Offer(PortSettings(1024, 29998, frozenset())).has_quiet


def test_reserved_and_bad_numbers_are_offered_only_by_name() -> None:
    """Excluded ones not even then."""
    offer = Offer(PortSettings(32768, 60999, frozenset({8000})), exclude={8002})
    assert [port for port in (6000, 8000, 8001, 8002) if offer.allows(port)] == [8001]
    assert [port for port in (6000, 8000, 8001, 8002) if offer.allows(port, named=True)] == [6000, 8000, 8001]
    assert out_of(parse_ports("5999-6001,6665,8002"), offer) == [5999, 6001, 6665]


@given(st.lists(st.integers(1, 65535), unique=True, max_size=50))
def test_shuffled_gives_each_number_once(ports: list[int]) -> None:
    """Whatever chance says."""
    assert sorted(shuffled(list(ports))) == sorted(ports)


def test_shuffled_takes_its_chances_from_outside() -> None:
    """With the same chances the same order, with others another."""
    assert list(shuffled([1, 2, 3, 4], chance=bytes)) == [1, 4, 3, 2]
    assert list(shuffled([1, 2, 3, 4], chance=lambda size: b"\1" + bytes(size - 1))) == [2, 4, 3, 1]


def test_a_name_orders_the_whole_quiet_range() -> None:
    """Each number once, another first one for another name, and always the same for the same."""
    order = list(in_order_of_name(digest("name", "web", "", 1000), DEFAULTS.is_ephemeral, OFFER))
    assert len(order) == len(set(order)) == sum(map(OFFER.is_quiet, QUIET))
    assert order[:3] == [28720, 26067, 23414], "the number of a name may not move with a release"
    firsts = {next(in_order_of_name(digest("name", str(n), "", 1000), DEFAULTS.is_ephemeral, OFFER)) for n in range(99)}
    assert len(firsts) > 95


def test_a_name_keeps_its_number_when_settings_change() -> None:
    """What became ephemeral comes last, the order of the rest stays."""
    known_by = digest("name", "web", "", 1000)
    before = list(in_order_of_name(known_by, DEFAULTS.is_ephemeral, OFFER))
    wide = PortSettings(15000, 60999, frozenset())
    after = list(in_order_of_name(known_by, wide.is_ephemeral, Offer(wide)))
    assert sorted(after) == sorted(before)
    assert after == [port for port in before if port < 15000] + [port for port in before if port >= 15000]


def test_names_of_users_kinds_and_labels_differ() -> None:
    """And a label is no part of the name's text."""
    texts = [("name", "web", "", 0), ("here", "web", "", 0), ("name", "we", "b", 0), ("name", "web", "", 1)]
    assert len({digest(*text) for text in texts}) == 4


numbers = st.sets(st.integers(1, 60) | st.integers(65500, 65535), min_size=1)
lengths = st.integers(1, 8)


@given(numbers, lengths)
def test_blocks_are_runs_of_members_within_the_limits(ports: set[int], length: int) -> None:
    """Every start whose followers are members too."""
    assert sorted(starts_of(ports, length)) == sorted(p for p in ports if {*range(p, p + length)} <= ports)


@given(numbers, lengths, st.dictionaries(st.integers(1, 60) | st.integers(65500, 65535), st.integers(1, 99)))
def test_blocks_go_by_their_newest_claim(ports: set[int], length: int, ages: dict[int, int]) -> None:
    """The one in which nothing was given out lately comes first."""
    starts = starts_of(ports, length)
    newest = {start: max(ages.get(port, 0) for port in range(start, start + length)) for start in starts}
    assert by_newest(starts, length, ages) == sorted(starts, key=lambda start: (newest[start], start))
