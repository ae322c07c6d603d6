"""The storm: 32 workers hand ports over while the kernel gives numbers away as fast as it can."""

import pytest

from helpers.support import churn, outputs_of, private_network

WORKERS = 32
ROUNDS = 313  # 32 x 313 = 10,016 hand-overs

WORKER = """
import socket, sys, time
import anyport

def bind_and_close():
    with socket.socket() as sock:
        sock.bind(("", 0))
        return sock.getsockname()[1]

method = {"find": anyport.find, "bind-and-close": bind_and_close}[sys.argv[1]]
reuse, rounds, lost = sys.argv[2] == "reuse", int(sys.argv[3]), 0
for _ in range(rounds):
    try:
        port = method()
    except OSError:
        lost += 1
        continue
    time.sleep(0.005)  # what a server needs to start
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(reuse))
        try:
            server.bind(("", port))
            server.listen()
        except OSError:
            lost += 1
print(lost)
"""


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
