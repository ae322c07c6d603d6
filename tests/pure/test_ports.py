"""Port numbers and sets of them."""

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from anyport import InvalidSelection
from anyport._ports import BAD_PORTS, FIRST, LAST, PortSet, check_port, parse_ports

port_numbers = st.integers(FIRST, LAST)


@given(port_numbers)
def test_a_number_and_its_text_mean_the_same(port: int) -> None:
    """8080 and "8080" are one port."""
    assert check_port(port) == check_port(str(port)) == port


@given(st.one_of(st.integers(max_value=0), st.integers(min_value=LAST + 1)))
def test_numbers_outside_the_limits_are_refused_with_the_value_and_the_limits(number: int) -> None:
    """The message names the value seen and both limits."""
    with pytest.raises(InvalidSelection, match="1 and 65535") as error:
        check_port(number)
    assert str(number) in str(error.value)


@given(st.text())
@example("0\x1f")
def test_any_text_is_a_port_or_the_documented_error(text: str) -> None:
    """Garbage gives InvalidSelection and nothing else."""
    try:
        assert FIRST <= check_port(text) <= LAST
    except InvalidSelection as error:
        assert error.hint


@pytest.mark.parametrize("value", [True, 80.0, None, b"80", [80], "８０", "²", "0x50", "1_000", "+80", "9" * 5000])
def test_what_only_looks_like_a_number_is_refused(value: object) -> None:
    """Booleans, floats, other scripts' digits and Python's own notations are no ports."""
    with pytest.raises(InvalidSelection):
        check_port(value)


def test_a_list_is_read_as_people_write_it() -> None:
    """Numbers and ranges, commas between them, spaces allowed, overlaps merged."""
    ports = parse_ports("7002-7004, 8000,7003-7006")
    assert list(ports) == [7002, 7003, 7004, 7005, 7006, 8000]
    assert len(ports) == 6
    assert str(ports) == "7002-7006,8000"
    assert ports.named == {8000}
    assert 7005 in ports
    assert 7007 not in ports


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("9000-8000", "9000-8000"), ("80,,90", "80,,90"), ("abc", "abc"), ("", "''"), ("80-", "80-"), ("-80", "-80"),
        ("0-5", "0"), ("1-65536", "65536"), ("1-2-3", "2-3"), ("80;90", "80;90"), (",", "','"),
    ],
)  # fmt: skip
def test_bad_lists_name_what_is_wrong(text: str, seen: str) -> None:
    """The message repeats the offending part."""
    with pytest.raises(InvalidSelection) as error:
        parse_ports(text)
    assert seen in str(error.value)
    assert error.value.hint


@given(st.text(alphabet="0123456789-, a"))
def test_any_list_is_a_set_or_the_documented_error(text: str) -> None:
    """Garbage gives InvalidSelection and nothing else."""
    try:
        ports = parse_ports(text)
    except InvalidSelection:
        return
    assert all(FIRST <= port <= LAST for port in (next(iter(ports)), *ports.named))


@given(st.lists(st.tuples(port_numbers, st.integers(1, 50)), min_size=1, max_size=8))
def test_a_set_is_what_its_parts_are(parts: list[tuple[int, int]]) -> None:
    """Membership, order, length and text agree with a plain Python set."""
    ranges = [range(start, min(start + length, LAST + 1)) for start, length in parts]
    expected = sorted({port for each in ranges for port in each})
    ports = PortSet(ranges)
    assert list(ports) == expected
    assert len(ports) == len(expected)
    assert list(parse_ports(str(ports))) == expected
    assert all(port in ports for port in expected)


def test_ranges_and_iterables_are_sets_too() -> None:
    """The library takes what Python has for sets of numbers; only those listed one by one are named."""
    assert parse_ports(range(7002, 7005)).named == frozenset()
    assert parse_ports([7002, 7003]).named == {7002, 7003}
    assert list(parse_ports(range(7002, 7010, 3))) == [7002, 7005, 7008]
    with pytest.raises(InvalidSelection):
        parse_ports(8000)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "endless", [itertools.repeat(8080), itertools.cycle([8080, 8081]), (port for port in itertools.repeat(9))]
)
def test_a_set_without_an_end_is_refused(endless: Iterator[int]) -> None:
    """As soon as it has more items than there are ports."""
    with pytest.raises(InvalidSelection, match="more than 65535 items") as error:
        parse_ports(endless)
    assert error.value.hint


@pytest.mark.parametrize("numbers", [range(10**9), range(1, 10**18), range(10**18, 0, -1), range(2, 10**18, 10**9)])
def test_a_range_beyond_the_limits_is_refused_by_its_ends(numbers: range) -> None:
    """It is never listed: a billion numbers would be 24 GB."""
    with pytest.raises(InvalidSelection, match="out of range"):
        parse_ports(numbers)


def test_every_port_there_is_may_be_listed() -> None:
    """The limit lets all of them in, one by one and as ranges with another step."""
    assert len(parse_ports(iter(range(FIRST, LAST + 1)))) == LAST
    assert len(parse_ports(range(LAST, 0, -1))) == LAST
    assert len(parse_ports(range(1, LAST + 1, 2))) == LAST // 2 + 1


def test_the_bad_ports_hold_what_browsers_are_known_to_refuse() -> None:
    """Spot checks of the WHATWG list: X11, SIP, IRC, Amanda."""
    assert {6000, 5060, 5061, 6667, 10080} <= BAD_PORTS
    assert not {80, 443, 8080, 3000} & BAD_PORTS
