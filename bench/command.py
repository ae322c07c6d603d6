"""The installed command: wall time, peak memory, and the size of the ledger it leaves."""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Self

from common import BY_PIP, BY_UV, HERE, MEMORY, Figure, Report, Table, enter_private, in_turn, ratio, show

if TYPE_CHECKING:
    from collections.abc import Sequence

PASS, ONE_LINER, FLOOR = "python -I -c pass", "python -c 'import socket; s=...'", "true"
SOURCE = 'import socket; s=socket.socket(); s.bind(("",0)); print(s.getsockname()[1]); s.close()'
PLAIN = ("anyport", "anyport 8080")
OPTIONS = ("anyport --from 1080", "anyport --name web", "anyport --json", "anyport --in 7002-7011")
BLOCKS, ROUNDS = 7, 10  # a new ledger for each block, so that --in 7002-7011 has an unclaimed number in each round
RUNS = 300  # of the command on one ledger

Results = dict[str, list[tuple[float, int]]]


class Launcher:
    """launch.py as a child: it runs commands and tells seconds and KiB."""

    def __init__(self) -> None:
        command = (sys.executable, "-I", "-S", str(HERE / "launch.py"))
        self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.communicate()

    def run(self, ledger: Path, words: Sequence[str]) -> tuple[float, int]:
        """Run one command; seconds and KiB."""
        assert self._child.stdin
        assert self._child.stdout
        self._child.stdin.write("\t".join((str(ledger), *words)) + "\n")
        self._child.stdin.flush()
        seconds, memory = self._child.stdout.readline().split()
        return float(seconds), int(memory)


def measure() -> Report:
    """The installed command, by pip and by uv, against the one-liner and `python -I -c pass`."""
    enter_private()  # where nobody has 8080
    figures: list[Figure] = []
    tables: list[Table] = []
    with Launcher() as launcher, TemporaryDirectory(dir=MEMORY) as folder:
        for by, environment in (("pip", BY_PIP), ("uv", BY_UV)):
            results = run_in_turn(launcher, environment / "bin", Path(folder))
            figures += judge(results, by)
            tables.append(table(results, by))
        sizes = ledger_sizes(launcher, Path(folder) / "ledger")
    figures.append(Figure("the ledger's apparent size", sizes[-1][1], "bytes", 1 << 20))
    figures.append(Figure(f"the ledger's allocated size after {RUNS} runs", sizes[-1][2], "bytes", (1 << 20) - 1))
    tables.append(Table("The ledger", ("runs", "apparent bytes", "allocated bytes"), sizes))
    return Report("The command", figures, tables)


def run_in_turn(launcher: Launcher, scripts: Path, folder: Path) -> Results:
    results: Results = {}
    for block in range(BLOCKS):
        ledger = folder / f"{scripts.parent.name}-{block}"
        rivals = {name: partial(launcher.run, ledger, words) for name, words in commands(scripts).items()}
        for name, each in in_turn(rivals, ROUNDS).items():
            results.setdefault(name, []).extend(each[1:])  # the first round makes the ledger, and uv's bytecode
    return results


def commands(scripts: Path) -> dict[str, list[str]]:
    python = str(scripts / "python")
    ours = {name: [str(scripts / "anyport"), *name.split()[1:]] for name in PLAIN + OPTIONS}
    others = {PASS: [python, "-I", "-c", "pass"], ONE_LINER: [python, "-c", SOURCE]}
    return {**others, **ours, FLOOR: [shutil.which("true") or "/bin/true"]}


def judge(results: Results, by: str) -> list[Figure]:
    seconds = {name: [each[0] for each in runs] for name, runs in results.items()}
    memory = {name: [each[1] for each in runs] for name, runs in results.items()}
    figures = []
    for name in PLAIN:
        figures += [
            Figure(f"`{name}` / one-liner, by {by}", ratio(seconds[name], seconds[ONE_LINER]).worse(), "x", 1.0),
            Figure(f"`{name}` / pass, by {by}", ratio(seconds[name], seconds[PASS]).worse(), "x", 1.5, 1.25),
            Figure(f"`{name}` / pass, peak memory, by {by}", ratio(memory[name], memory[PASS]).worse(), "x", 1.3),
        ]
    for name in OPTIONS:
        figures.append(Figure(f"`{name}` / pass, by {by}", ratio(seconds[name], seconds[PASS]).worse(), "x", 2.3))
    return figures


def table(results: Results, by: str) -> Table:
    seconds = {name: [each[0] for each in runs] for name, runs in results.items()}
    rows = []
    for name, each in seconds.items():
        against = ratio(each, seconds[ONE_LINER]), ratio(each, seconds[PASS])
        cells = [f"{one.of_medians:.2f}, {one.of_rounds:.2f}" for one in against]
        rows.append((name, f"{median(each) * 1e3:.2f}", *cells, f"{median(run[1] for run in results[name]):,.0f}"))
    head = ("command", "ms", "x one-liner (medians, rounds)", "x pass (medians, rounds)", "peak KiB")
    return Table(f"Installed by {by} (`{FLOOR}` shows the least peak memory that can be told)", head, rows)


def ledger_sizes(launcher: Launcher, ledger: Path) -> list[tuple[int, int, int]]:
    """(runs, apparent bytes, allocated bytes) after one run and after many."""
    sizes = []
    for run in range(1, RUNS + 1):
        launcher.run(ledger, [str(BY_PIP / "bin/anyport")])
        if run in (1, RUNS):
            found = ledger.stat()
            sizes.append((run, found.st_size, found.st_blocks * 512))
    return sizes


if __name__ == "__main__":
    show(measure)
