"""The question as the caller puts it, and all that can be wrong with it."""

import itertools

import pytest

from anyport import InvalidSelection
from anyport._address import TCP, UDP
from anyport._find.selection import Selection, variable


def test_the_plain_question() -> None:
    """One TCP port from the quiet range, unused everywhere, kept for a minute."""
    plain = Selection()
    assert (plain.base, plain.count, plain.kinds, plain.hosts, plain.keep) == ("quiet", 1, (TCP,), (), 60)


@pytest.mark.parametrize(
    ("words", "base"),
    [
        ({"from_": 1080}, "from"), ({"in_": "1-2"}, "in"), ({"ephemeral": True}, "ephemeral"),
        ({"name": "web"}, "name"), ({"here": True}, "name"), ({"port": 8080}, "quiet"),
    ],
)  # fmt: skip
def test_each_word_names_where_numbers_come_from(words: dict[str, object], base: str) -> None:
    """Preferred numbers come before any of them."""
    assert Selection(**words).base == base  # type: ignore[arg-type]


def test_protocols() -> None:
    """TCP unless UDP alone was asked for; both means one number for both."""
    assert Selection(udp=True).kinds == (UDP,)
    assert Selection(tcp=True).kinds == (TCP,)
    assert Selection(tcp=True, udp=True).kinds == (TCP, UDP)


def test_preferred_numbers_keep_their_order_and_come_once() -> None:
    """A single number, a list, or texts as the command line has them."""
    assert Selection(8080).preferred == (8080,)
    assert Selection([8081, 8080, 8081]).preferred == (8081, 8080)
    assert Selection(["8080"]).preferred == (8080,)


def test_labels_count_and_name_variables() -> None:
    """Two labels ask for two ports, WEB_PORT and DB_MAIN_PORT."""
    assert Selection(as_=["web", "db-main"]).count == 2
    assert [variable(label) for label in ("web", "db-main")] == ["WEB_PORT", "DB_MAIN_PORT"]


def test_hosts_may_be_written_in_brackets() -> None:
    """As in an URL."""
    assert Selection(host=["[::1]", "::1", "localhost"]).hosts == ("::1", "localhost")


@pytest.mark.parametrize(
    ("words", "seen"),
    [
        ({"port": 70000}, "70000"), ({"port": 0}, "0"), ({"port": -5}, "-5"), ({"port": "http"}, "http"),
        ({"from_": 65536}, "65536"), ({"in_": "9000-8000"}, "9000-8000"), ({"in_": []}, "empty"),
        ({"count": 0}, "0"), ({"count": 100_000}, "100000"), ({"count": "many"}, "many"), ({"count": True}, "True"),
        ({"host": 1}, "1"), ({"as_": 5}, "5"), ({"port": itertools.repeat(80)}, "65535"),
        ({"host": itertools.repeat("::1")}, "65535"), ({"as_": itertools.repeat("a")}, "65535"),
        ({"exclude": range(10**9)}, "0"), ({"in_": range(1, 10**9)}, "999999999"),
        ({"keep": -1}, "-1"), ({"keep": "soon"}, "soon"), ({"keep": "25h"}, "24h"), ({"name": ""}, "''"),
        ({"name": "a\0b"}, "NUL"), ({"host": ""}, "''"), ({"host": ["127.0.0.1", " "]}, "' '"),
        ({"as_": "1web"}, "1web"),
        ({"as_": ["web", "WEB"]}, "same variable"), ({"as_": "a b"}, "a b"), ({"as_": ["web"], "count": 2}, "2 ports"),
        ({"order": "up", "in_": "1-2"}, "up"), ({"order": "random"}, "--order"),
        ({"from_": 1, "in_": "1-2"}, "--from and --in"), ({"name": "a", "here": True}, "--name and --here"),
        ({"ephemeral": True, "from_": 1}, "--ephemeral and --from"), ({"only": True}, "--only"),
        ({"only": True, "port": 1, "from_": 2}, "--only"), ({"only": True, "port": 80, "count": 2}, "2 ports out of 1"),
        ({"in_": "1-3", "count": 4}, "4 ports out of 3"), ({"from_": 65535, "count": 2}, "2 ports out of 1"),
        ({"ephemeral": True, "contiguous": True}, "--contiguous"), ({"name": "a", "contiguous": True}, "--contiguous"),
        ({"name": "a", "as_": ["b"], "port": 80}, "labels"), ({"exclude": "x"}, "x"),
        ({"only": True, "port": 80, "exclude": "80"}, "80"),
        ({"only": True, "port": 65534, "count": 3, "contiguous": True}, "65535"), ({"port": 3.5}, "3.5"),
    ],
)  # fmt: skip
def test_what_can_not_be_asked_names_the_value_or_the_limit(words: dict[str, object], seen: str) -> None:
    """Every wrong question is an InvalidSelection, which is a ValueError."""
    with pytest.raises(InvalidSelection) as error:
        Selection(**words)  # type: ignore[arg-type]
    assert seen in str(error.value)
    assert isinstance(error.value, ValueError)


def test_the_limits_themselves_are_allowed() -> None:
    """1, 65535, 24h and a count of 65535."""
    assert Selection([1, 65535]).preferred == (1, 65535)
    assert Selection(keep="24h").keep == 86400
    assert Selection(count=65535).count == 65535
    assert Selection(from_=65535, port=80, count=2).count == 2
