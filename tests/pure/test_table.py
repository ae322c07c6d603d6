"""The table that people read."""

import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyport._cli.table import table, terminal_width

cells = st.text("abc", max_size=30)
tables = st.integers(1, 5).flatmap(
    lambda width: st.lists(st.lists(cells, min_size=width, max_size=width), min_size=1, max_size=6)
)


def test_a_small_one() -> None:
    """Two spaces between columns, none at the end of a line."""
    rows = [("tcp", "LISTEN", "0.0.0.0:80"), ("udp", "BOUND", "[::]:5353")]
    assert table(("PROTO", "STATE", "LOCAL"), rows) == (
        "PROTO  STATE   LOCAL\ntcp    LISTEN  0.0.0.0:80\nudp    BOUND   [::]:5353\n"
    )


def test_an_empty_column_is_left_out() -> None:
    """One that has something in a single row stays."""
    rows = [("tcp", "", "a"), ("tcp", "", "")]
    assert table(("PROTO", "REMOTE", "USER"), rows) == "PROTO  USER\ntcp    a\ntcp\n"


@pytest.mark.parametrize("empty", [0, 2])
def test_the_first_and_the_last_column_may_be_empty(empty: int) -> None:
    """The last one that is left is the one that is cut then."""
    row = ["x" * 30] * 3
    row[empty] = ""
    lines = table(("A", "B", "C"), [row], 60).splitlines()
    assert lines[1] == f"{'x' * 30}  {'x' * 25}..."
    assert [len(lines[0].split()), len(lines[0])] == [2, 33]


@given(tables)
def test_columns_are_aligned_and_nothing_is_lost(rows: list[list[str]]) -> None:
    """Each cell begins where its column does, in every line."""
    header = [f"H{at}" for at in range(len(rows[0]))]
    kept = [at for at in range(len(header)) if any(row[at] for row in rows)]
    lines = table(header, rows).splitlines()
    if not kept:
        return
    assert lines[0].split() == [header[at] for at in kept]
    starts = [lines[0].index(header[at]) for at in kept]
    assert len(lines) == len(rows) + 1
    for line, row in zip(lines[1:], rows, strict=True):
        ends = [start - 2 for start in starts[1:]] + [None]
        assert [line[start:end].rstrip() for start, end in zip(starts, ends, strict=True)] == [row[at] for at in kept]


@given(tables, st.integers(1, 200))
def test_no_line_is_longer_than_the_terminal(rows: list[list[str]], width: int) -> None:
    """However narrow; what is cut says so by three dots, and what fits is whole."""
    header = [f"H{at}" for at in range(len(rows[0]))]
    whole, cut = table(header, rows).splitlines(), table(header, rows, width).splitlines()
    for line, shown in zip(whole, cut, strict=True):
        assert len(shown) <= width
        assert shown == line if len(line) <= width else shown == f"{line[: max(width - 3, 0)]}..."[:width]


def test_a_command_line_of_millions_of_signs_is_cut_at_once() -> None:
    """Sign by sign from its end it took minutes, and as much was padded in each other row."""
    long = "x" * 3_000_000
    begin = time.process_time()
    for end in ("", "é"):
        rows = [("a", f"{long}{end}"), *[("b", "c")] * 1000]
        assert table(("A", "B"), rows, 80).splitlines()[1] == f"a  {'x' * 74}..."
    assert table(("A", "B"), rows).splitlines()[3] == "b  c"
    assert time.process_time() - begin < 20


def test_signs_that_take_two_columns_are_not_halved() -> None:
    """Nor do accents count."""
    assert table(("A",), [("水" * 20,)], 10).splitlines()[1] == "水水水..."
    assert table(("A",), [("e\u0301" * 20,)], 10).splitlines()[1] == "e\u0301" * 7 + "..."


def test_without_rows_there_is_nothing_to_be_shown() -> None:
    """Not even a header."""
    assert table(("A", "B"), []) == ""


def test_a_pipe_has_no_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor has a closed descriptor, or a terminal that does not know its size."""
    read, write = os.pipe()
    size_of = os.get_terminal_size
    monkeypatch.setattr(os, "get_terminal_size", lambda _fd: size_of(read))
    assert terminal_width() is None
    os.close(read)
    os.close(write)
    assert terminal_width() is None
    for columns, width in ((0, None), (80, 80)):
        monkeypatch.setattr(os, "get_terminal_size", lambda _fd, columns=columns: os.terminal_size((columns, 24)))
        assert terminal_width() == width
