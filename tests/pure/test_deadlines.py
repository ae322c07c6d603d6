"""What is due in which state of a started program, and when."""

import itertools

import pytest

from anyport._run.deadlines import (
    ENDED,
    GIVE_UP,
    KILL,
    KILLED,
    LOOK,
    LOOKING,
    NEVER,
    RUNNING,
    STOPPING,
    TIDY,
    TOLD,
    Deadlines,
    next_step,
)  # fmt: skip

NOW = 100.0


def deadlines(**at: float) -> Deadlines:
    """Deadlines of which only these are set, in seconds from now."""
    found = Deadlines(NOW, None, is_awaited=True)
    found.at = dict.fromkeys((KILL, TIDY, LOOK, GIVE_UP), NEVER)
    found.at.update({name.replace("_", " "): NOW + seconds for name, seconds in at.items()})
    return found


ALL = {"kill": 4.0, "tidy": 3.0, "look": 2.0, "give_up": 1.0}


@pytest.mark.parametrize(
    ("state", "at", "step", "seconds"),
    [
        (LOOKING, ALL, GIVE_UP, 1.0),
        (LOOKING, {"look": 2.0, "give_up": 3.0}, LOOK, 2.0),
        (LOOKING, {"look": -1.0, "give_up": -2.0}, LOOK, 0.0),  # a last look before it is too late
        (TOLD, {"look": 2.0, "give_up": 3.0}, GIVE_UP, 3.0),  # its calls tell: no look is needed
        (TOLD, {"tidy": 2.0, "give_up": 3.0}, TIDY, 2.0),
        (RUNNING, ALL, TIDY, 3.0),  # ready, or not to be seen: then no limit holds
        (STOPPING, ALL, TIDY, 3.0),
        (STOPPING, {"kill": -1.0, "tidy": -2.0}, KILL, 0.0),
        (STOPPING, {"give_up": 1.0, "look": 1.0}, KILL, NEVER),
        (KILLED, {"kill": -1.0, "give_up": -1.0}, TIDY, NEVER),
        (ENDED, ALL, "", NEVER),
    ],
)
def test_what_is_due_depends_on_the_state(state: str, at: dict[str, float], step: str, seconds: float) -> None:
    """The earliest of what can fall due in it."""
    found = next_step(NOW, state, deadlines(**at))
    assert found[1] == seconds
    assert seconds == NEVER or found[0] == step


@pytest.mark.parametrize(("is_awaited", "longest"), [(True, 0.05), (False, 0.25)])
def test_looks_back_off(is_awaited: bool, longest: float) -> None:
    """From 1 ms, doubling: to 1.5 ms if somebody waits for the program, else to 250 ms."""
    found, pauses = Deadlines(NOW, 30.0, is_awaited=is_awaited), list[float]()
    now = NOW
    for _ in range(12):
        now, before = found.at[LOOK], now
        pauses.append(now - before)
        found.looked(now, cost=0.0)
    assert pauses[0] == pytest.approx(0.001)
    assert all(later >= earlier - 1e-9 for earlier, later in itertools.pairwise(pauses))
    assert pauses[-1] == pytest.approx(longest)


def test_a_dear_look_is_followed_by_a_long_pause() -> None:
    """Looking takes a tenth of a processor at most."""
    found = Deadlines(NOW, 30.0, is_awaited=True)
    found.looked(NOW + 1, cost=0.5)
    assert found.at[LOOK] == NOW + 1 + 5.0


def test_the_limit_counts_from_the_start() -> None:
    """And without one there is none."""
    assert Deadlines(NOW, 30.0, is_awaited=True).at[GIVE_UP] == NOW + 30
    assert Deadlines(NOW, None, is_awaited=False).at[GIVE_UP] == NEVER
