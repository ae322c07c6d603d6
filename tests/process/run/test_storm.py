"""The storm: 32 workers hand ports over while the kernel gives numbers away as fast as it can."""

import pytest

from helpers.support import churn, outputs_of, private_network, program

pytestmark = pytest.mark.slow
WORKERS = 32
ROUNDS = 313  # 32 x 313 = 10,016 hand-overs

WORKER = program("storm.py")


def lost(method: str, reuse: str, rounds: int) -> int:
    return sum(map(int, outputs_of(WORKER, WORKERS, method, reuse, str(rounds))))


@pytest.mark.parametrize("reuse", ["reuse", "plain"])
def test_no_hand_over_is_lost(reuse: str) -> None:
    """0 of 10,000, whether the server sets SO_REUSEADDR or not."""
    with private_network((40000, 40199)), churn(9001, 9002):
        assert lost("find", reuse, ROUNDS) == 0


def test_bind_and_close_loses_many_in_the_same_storm() -> None:
    """The naive way: one in five or ten, else the storm proves nothing."""
    with private_network((40000, 40199)), churn(9001, 9002):
        assert lost("bind-and-close", "plain", 60) > WORKERS * 60 * 0.05
