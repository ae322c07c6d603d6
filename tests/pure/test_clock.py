"""Durations and waits."""

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyport import InvalidSelection
from anyport._clock import boot_microseconds, parse_duration, pauses, poll_time


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("10m", 600), ("24h", 86400), ("0", 0), ("1.5s", 1.5), ("60", 60), (" 2s ", 2), (7, 7)],
)  # fmt: skip
def test_durations_are_read_as_people_write_them(text: str | float, seconds: float) -> None:
    """A number and a unit; without a unit seconds."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["soon", "", "s", "1d", "1e3s", "--1s", "1..5s", "1,5s", "5 s", "inf", "nan", "٣s", "1sm", True, None, math.nan],
)
def test_what_is_no_duration_is_refused_with_its_value(text: object) -> None:
    """The message repeats the value, the hint shows how to write one."""
    with pytest.raises(InvalidSelection) as error:
        parse_duration(text)  # type: ignore[arg-type]
    assert repr(text) in str(error.value)
    assert "30s" in error.value.hint


@pytest.mark.parametrize("value", ["-1s", -0.001])
def test_less_than_nothing_is_below_the_limit(value: str | float) -> None:
    """Negative durations name the limit 0."""
    with pytest.raises(InvalidSelection, match="limit, 0"):
        parse_duration(value)


@pytest.mark.parametrize("value", ["87601h", 10**9, math.inf, "9" * 400])
def test_more_than_ten_years_is_above_the_limit(value: str | float) -> None:
    """What is longer than the limit is a slip, and what is endless is said otherwise (None)."""
    with pytest.raises(InvalidSelection, match="limit, 87600h"):
        parse_duration(value)


@pytest.mark.parametrize(
    ("seconds", "milliseconds"),
    [(None, None), (math.inf, None), (-1.0, 0.0), (0.5, 500.0), (3600.0, 3_600_000.0), (315_360_000.0, 3_600_000.0)],
)
def test_a_poll_is_never_longer_than_it_can_be(seconds: float | None, milliseconds: float | None) -> None:
    """An hour at most, where poll(2) overflows after 24 days."""
    assert poll_time(seconds) == milliseconds


@given(st.text())
def test_any_text_is_a_duration_or_the_documented_error(text: str) -> None:
    """Garbage gives InvalidSelection and nothing else."""
    try:
        assert parse_duration(text) >= 0
    except InvalidSelection:
        pass


def test_the_boot_clock_never_goes_back() -> None:
    """Microseconds since boot, ascending."""
    first = boot_microseconds()
    assert 0 < first <= boot_microseconds()


def test_pauses_double_up_to_a_ceiling_and_end_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """1 ms, 2, 4 ... 50, and never past the one limit."""
    now = 0.0
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        nonlocal now
        slept.append(seconds)
        now += seconds

    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(time, "sleep", sleep)
    tries = sum(1 for _ in pauses(0.2))
    assert slept[:6] == pytest.approx([0.001, 0.002, 0.004, 0.008, 0.016, 0.032])
    assert max(slept) <= 0.05
    assert sum(slept) == pytest.approx(0.2)
    assert tries == len(slept) + 1
