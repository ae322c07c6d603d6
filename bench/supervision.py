"""The supervised hand-over: what the program's calls cost, trapped or not, how soon it is told, and the memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from common import BY_PIP, HERE, MEMORY, Figure, Report, Table, enter_private, in_turn, show
from run_command import percentile, resident, started, told_by_file
from supervision_program import BIND, CHILDREN, LISTEN, REFUSED, REFUSED_BEHIND, TRAPS, UNTRAPPED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from supervision_program import Times

    Starts = Mapping[str, Sequence[Times]]

PLAIN, SUPERVISED, TOLD, MAPPED = "plain", "supervised", "supervised, --port-file", "supervised, --map"
OWN = "8080"  # the port of who is not supervised, and the one that --map is for
STARTS = 20  # of each
REFUSED_STARTS = 3
TELLS = 60
HAND_OVER = ("--hand-over", "supervised")
LIMITS = {BIND: 150, LISTEN: 100}  # microseconds


def measure() -> Report:
    """The calls of a supervised program, trapped or not, against the same program's when nobody supervises it."""
    enter_private()  # where nobody has OWN
    with TemporaryDirectory(dir=MEMORY) as folder:
        os.environ["ANYPORT_LEDGER"] = f"{folder}/ledger"
        port_file = f"{folder}/port"
        options = {SUPERVISED: (), TOLD: ("--port-file", port_file), MAPPED: ("--map", OWN)}
        calls = in_turn(ways("calls", options, PLAIN, SUPERVISED, TOLD), STARTS)
        os.unlink(port_file)
        clients = in_turn(ways("clients", options, PLAIN, MAPPED), STARTS)
        others = in_turn(ways("others", options, PLAIN, SUPERVISED, MAPPED), STARTS)
        refused = in_turn(ways("refused", options, SUPERVISED), REFUSED_STARTS)
        delays = [told_by_file(port_file, *HAND_OVER) for _ in range(TELLS)]
        memory = resident_after_traps()
    figures = [
        *judge(calls),
        *judge_refused(refused),
        Figure("an untrapped call, more than not supervised", more(others, SUPERVISED), "ns", 100),
        Figure("from listen until the port file is there, supervised, median", median(delays), "ms", 1.0),
        Figure(f"the supervising runner's resident memory (VmRSS) after {TRAPS} traps", memory, "MiB", 18.0),
    ]
    tables = [
        calls_table("What a server calls", calls),
        calls_table(f"What a client calls, and a server's getsockname, under --map {OWN}", clients),
        refused_table(refused),
        others_table(others),
        delay_table(delays),
    ]
    return Report("Supervision", figures, tables)


def ways(what: str, options: Mapping[str, Sequence[str]], *names: str) -> dict[str, Callable[[], Times]]:
    """To start the program: as it is, or under `anyport run` with these options."""
    return {name: partial(times, what, options.get(name)) for name in names}


def times(what: str, options: Sequence[str] | None) -> Times:
    """What the program prints; without options it runs as it is."""
    command = program(what, OWN if options is None or OWN in options else "{port}")
    if options is not None:
        command = [str(BY_PIP / "bin/anyport"), "run", *HAND_OVER, *options, "--", *command]
    printed: Times = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return printed


def program(what: str, port: str) -> list[str]:
    return [sys.executable, "-I", "-S", str(HERE / "supervision_program.py"), what, port]


def resident_after_traps() -> float:
    with started(program("traps", "{port}"), *HAND_OVER) as runner:
        assert runner.stdout
        assert runner.stdout.readline()
        return resident(runner.pid)


def judge(calls: Starts) -> list[Figure]:
    return [
        Figure(f"{call}, {way}, median", median(all_of(calls[way], call)) / 1e3, "us", limit)
        for call, limit in LIMITS.items()
        for way in (SUPERVISED, TOLD)
    ]


def judge_refused(refused: Starts) -> list[Figure]:
    return [
        Figure(f"{call}, with {CHILDREN} children, median", median(all_of(refused[SUPERVISED], call)) / 1e6, "ms", 2.0)
        for call in (REFUSED, REFUSED_BEHIND)
    ]


def more(starts: Starts, way: str) -> float:
    """How many nanoseconds more than plain: of the medians, or the median of the rounds' own, whichever is worse."""
    mine, other = (all_of(starts[name], UNTRAPPED) for name in (way, PLAIN))
    rounds = [one - two for one, two in zip(mine, other, strict=True)]
    return max(median(mine) - median(other), median(rounds))


def all_of(starts: Sequence[Times], call: str) -> list[int]:
    return [each for start in starts for each in start[call]]


def calls_table(title: str, starts: Starts) -> Table:
    what = f"microseconds: median, 95th percentile, and the median of the first ones of {STARTS} starts"
    rows = [(call, *(spread(each, call) for each in starts.values())) for call in starts[PLAIN][0]]
    return Table(f"{title}, in {what}", ("call", *starts), rows)


def spread(starts: Sequence[Times], call: str) -> str:
    """The microseconds of a call."""
    every, first = all_of(starts, call), [start[call][0] for start in starts]
    return ", ".join(f"{value / 1e3:.1f}" for value in (median(every), percentile(every, 95), median(first)))


def refused_table(starts: Starts) -> Table:
    calls = ((call, sorted(all_of(starts[SUPERVISED], call))) for call in (REFUSED, REFUSED_BEHIND))
    rows = [(call, *(f"{value / 1e6:.2f}" for value in (median(each), each[-1]))) for call, each in calls]
    return Table(
        f"A bind where the program listens itself, with {CHILDREN} children", ("", "median ms", "longest"), rows
    )


def others_table(starts: Starts) -> Table:
    rows = [(way, f"{median(all_of(each, UNTRAPPED)):.0f}", f"{more(starts, way):.0f}") for way, each in starts.items()]
    return Table(
        f"An untrapped call ({UNTRAPPED}, with Python's loop), the least of each of {STARTS} starts",
        ("way", "ns, median", "ns more than plain"), rows,
    )  # fmt: skip


def delay_table(delays: Sequence[float]) -> Table:
    row = [f"{value:.2f}" for value in (median(delays), percentile(delays, 95), max(delays))]
    head = ("median ms", "95th percentile", "longest")
    return Table(f"From listen until the port file is there, {TELLS} starts", head, [row])


if __name__ == "__main__":
    show(measure)
