"""Hand-overs in a race: 32 workers get a port, wait 5 ms and start a server on it; others churn through ports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from common import MEMORY, Figure, Report, Table, enter_private, show
from race_traffic import portserver, traffic
from race_ways import (
    ADDRESS,
    DONE,
    FIND,
    HOLD,
    LOST,
    NO_PORT,
    PLAIN,
    PORTSERVER,
    REUSE,
    RUN,
    SERVERS,
    WAYS,
    Way,
    hand_over,
)

WORKERS = 32
SIZES = (200, 1_000)  # of the ephemeral range
FIRST = 40_000
CLIENTS = 800  # from here on the ports of the workers' clients, which no way gives out
PER = 10_000
QUICK = int(os.environ.get("RACE_COUNT", PER))  # for a quick look: so many hand-overs, or a tenth of the seconds
JUDGED = ((FIND, PLAIN), (FIND, REUSE), (RUN, PLAIN), (RUN, REUSE), (HOLD, REUSE))
ABOUT = """\
32 workers, each in a loop: get a port, wait 5 ms, start a server on it, have it answer one request, stop it. Around
them four processes bind to port 0 and connect all the time. The ephemeral range has {size:,} ports. A hand-over is lost
when the server's bind or listen fails, or another one answers; there is no port when the way gives none. (The
portserver is a daemon that somebody has to start, for all who take ports. Without it portpicker gives a process no
number twice, and takes from elsewhere when the range is used up. Slow ways were stopped early.)"""


class Outcome(NamedTuple):
    """What came of the hand-overs in one storm."""

    way: str
    server: str
    size: int
    done: int
    lost: int
    no_port: int
    seconds: float

    @property
    def made(self) -> int:
        """How many there were."""
        return self.done + self.lost + self.no_port

    def of_10000(self, count: int) -> float:
        """That many, as if there had been 10,000."""
        return count * PER / self.made


def measure() -> Report:
    """Failed hand-overs of 10,000, by 32 workers in a small ephemeral range, with traffic around them."""
    outcomes = [storm_apart(way, server, size) for size in SIZES for way in WAYS for server in SERVERS]
    figures = [figure([each for each in outcomes if each[:2] == key]) for key in JUDGED]
    tables = [table(size, [each for each in outcomes if each.size == size]) for size in SIZES]
    return Report("In a race", figures, tables, [each._asdict() for each in outcomes])


def figure(outcomes: list[Outcome]) -> Figure:
    """One way with one server, in all the ranges."""
    failed = sum(each.lost + each.no_port for each in outcomes)
    made = sum(each.made for each in outcomes)
    return Figure(f"{outcomes[0].way}, failed hand-overs, {outcomes[0].server} server", failed, f"of {made:,}", 0)


def table(size: int, outcomes: list[Outcome]) -> Table:
    head = ("way", "server", "lost, of 10,000", "no port, of 10,000", "hand-overs", "seconds", "remark")
    return Table(ABOUT.format(size=size), head, [row(each) for each in outcomes])


def row(each: Outcome) -> tuple[str, ...]:
    failures = (f"{each.of_10000(count):,.0f}" for count in (each.lost, each.no_port))
    remark = WAYS[each.way].remark if each.done < each.made else ""
    return (each.way, each.server, *failures, f"{each.made:,}", f"{each.seconds:.0f}", remark)


def storm_apart(way: str, server: str, size: int) -> Outcome:
    """One storm in a network namespace that nobody used before, so that no TIME_WAIT is left there."""
    print(f"  {way}, {server}, {size} ports ...", file=sys.stderr)
    command = (sys.executable, __file__, "--one", way, server, str(size))
    answer: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return Outcome(**answer)


def storm(way: str, server: str, size: int) -> Outcome:
    enter_private()
    Path("/proc/sys/net/ipv4/ip_local_port_range").write_text(f"{FIRST} {FIRST + size - 1}")
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory(dir=MEMORY))
        os.environ["ANYPORT_LEDGER"] = f"{folder}/ledger"
        if way == PORTSERVER:
            os.environ["PORTSERVER_ADDRESS"] = ADDRESS
            stack.enter_context(portserver())
        stack.enter_context(traffic())
        pool = stack.enter_context(get_context("fork").Pool(WORKERS))
        begin = time.perf_counter()
        parts = pool.starmap(work, [(way, server, number) for number in range(WORKERS)], chunksize=1)
        seconds = time.perf_counter() - begin
    found: Counter[str] = sum(parts, Counter())
    return Outcome(way, server, size, found[DONE], found[LOST], found[NO_PORT], seconds)


def work(name: str, server: str, number: int) -> Counter[str]:
    most, seconds = limits(WAYS[name])
    until = time.monotonic() + seconds
    outcomes: Counter[str] = Counter()
    for _ in range(number, most, WORKERS):
        if time.monotonic() < until:
            outcomes[hand_over(name, server, CLIENTS + number)] += 1
    return outcomes


def limits(way: Way) -> tuple[int, float]:
    """How many hand-overs there are to be, and in how many seconds."""
    return min(way.most, QUICK), way.seconds if QUICK == PER else way.seconds / 10


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(storm(sys.argv[2], sys.argv[3], int(sys.argv[4]))._asdict()))
    else:
        show(measure)
