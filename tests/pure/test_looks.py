"""How often `anyport wait` looks."""

import pytest

from anyport._who import wait


class Clock:
    """Stands for the time: each look costs so much of the processor, and sleeping takes no time at all."""

    def __init__(self, cost: float) -> None:
        self.now, self.used, self.cost = 1000.0, 5.0, cost
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def thread_time(self) -> float:
        return self.used

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def look(self) -> None:
        self.now += self.cost
        self.used += self.cost


@pytest.mark.parametrize("cost", [0.0, 0.0001, 0.0005, 0.001, 0.002, 0.005])
def test_looks_back_off(cost: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """From 1 ms to 50 ms, or sixty times what a look costs: below 2 % of a processor in a minute, and a last look."""
    clock = Clock(cost)
    monkeypatch.setattr(wait, "time", clock)
    for _ in wait._looks(60.0):
        last = clock.now
        clock.look()
    longest = max(0.05, cost * 60)
    assert clock.pauses[:6] == [0.001, 0.002, 0.004, 0.008, 0.016, 0.032]
    assert clock.pauses[9:-1] == pytest.approx([longest] * len(clock.pauses[9:-1]))
    assert max(clock.pauses) == pytest.approx(longest)
    assert last == pytest.approx(1060.0)
    assert (clock.used - 5.0) / 60 < 0.02


def test_no_time_is_one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """And no pause; without a limit there is no end of them."""
    clock = Clock(0.0)
    monkeypatch.setattr(wait, "time", clock)
    assert len(list(wait._looks(0.0))) == 1
    assert clock.pauses == []
    assert sum(1 for _ in zip(range(5000), wait._looks(float("inf")), strict=False)) == 5000
