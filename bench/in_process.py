"""find() in one process, its ledger included, against the plain loop and the rivals."""

from __future__ import annotations

import os
import socket
import time
from pkgutil import resolve_name
from statistics import mean, median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from common import MEMORY, Figure, Report, Table, calls, in_turn, ratio, show

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# Few calls of those that leave TIME_WAIT behind: thousands would make everybody's bind to port 0 slow.
RIVALS = {
    "portpicker.pick_unused_port()": ("portpicker:pick_unused_port", 100),
    "ephemeral_port_reserve.reserve()": ("ephemeral_port_reserve:reserve", 10),
    "port_for.select_random()": ("port_for:select_random", 10),
}
PLAIN, FIND = "plain loop", "anyport.find()"
CHUNK = 500  # calls in a row
LAP = 20_000  # calls after which find() has been all through the quiet range
PAUSE = 0.15  # seconds: longer than find() keeps numbers in store


def plain() -> int:
    sock = socket.socket()
    sock.bind(("", 0))
    port: int = sock.getsockname()[1]
    sock.close()
    return port


def measure() -> Report:
    """In one process: find() against the plain bind-to-0 loop, portpicker, ephemeral-port-reserve and port-for."""
    with TemporaryDirectory(dir=MEMORY) as folder:
        os.environ["ANYPORT_LEDGER"] = f"{folder}/ledger"
        find = resolve_name("anyport:find")
        ours = {PLAIN: calls(plain, CHUNK), FIND: calls(find, CHUNK)}
        theirs = {name: calls(resolve_name(where), count) for name, (where, count) in RIVALS.items()}
        fresh = in_turn({**ours, **theirs}, 30)
        calls(find, 2 * LAP)()
        full = {name: laps(times) for name, times in in_turn(ours, 7 * LAP // CHUNK).items()}
        alone = in_turn({PLAIN: lambda: after_pause(plain), FIND: lambda: after_pause(find)}, 40)
    return report(fresh, full, alone)


def laps(times: Sequence[float]) -> list[float]:
    """The time of a call in each lap, so that the one in 20,000 that sorts the ledger has its share."""
    size = LAP // CHUNK
    return [mean(times[at : at + size]) for at in range(0, len(times), size)]


def after_pause(function: Callable[[], object]) -> float:
    time.sleep(PAUSE)
    return calls(function, 1)()


Times = dict[str, list[float]]


def report(fresh: Times, full: Times, alone: Times) -> Report:
    figures = [
        Figure("find() / plain loop", ratio(fresh[FIND], fresh[PLAIN]).worse(), "x", 2.0, 1.5),
        Figure("find() / plain loop, after 40,000 calls", ratio(full[FIND], full[PLAIN]).worse(), "x", 2.0, 1.5),
        *(Figure(f"find() / {name}", ratio(fresh[FIND], fresh[name]).worse(), "x", 1.0) for name in RIVALS),
    ]
    tables = [
        table("In a row, the ledger new", fresh),
        table("In a row after 40,000 calls, whole laps of 20,000, each with one sorting of the ledger", full),
        table(f"One call every {PAUSE} s (no limit)", alone),
    ]
    return Report("In one process", figures, tables)


def table(title: str, times: Times) -> Table:
    rows = []
    for name, each in times.items():
        against = ratio(each, times[PLAIN])
        rows.append((name, f"{median(each) * 1e6:.1f}", f"{against.of_medians:.2f}", f"{against.of_rounds:.2f}"))
    return Table(title, ("way", "us a call", "x plain (of medians)", "x plain (of rounds)"), rows)


if __name__ == "__main__":
    show(measure)
