"""`anyport run`: what it costs, how soon it tells that its program listens, and its memory and that of a holder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from pkgutil import resolve_name
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from command import Launcher
from common import BY_PIP, BY_UV, MEMORY, Figure, Report, Table, enter_private, in_turn, ratio, show

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

RUN, TWO, PASS, TRUE = "anyport run -- true", "python3 -I -c pass; true", "python3 -I -c pass", "true"
ROUNDS = 61  # the first makes the ledger, and uv's bytecode
FILE, LIBRARY = "`anyport run --port-file`", "`anyport.run()`"
STARTS = 150  # of each of the two
STEP, STEPS = 0.0007, 30  # a server takes some seconds longer than the one before it, so that every phase comes up
LOOK = 0.0001  # seconds between two looks at the port file
AT_REST = 0.5  # seconds until memory is read
SERVER = """\
import os, signal, socket, sys, time
time.sleep(float(sys.argv[1]))
with socket.socket() as server:
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("", int(os.environ["PORT"])))
    server.listen()
    print(time.monotonic_ns(), flush=True)
    signal.pause()
"""

_steps = count()


def measure() -> Report:
    """`anyport run` against `python3 -I -c pass; true`, how soon it tells that a program listens, and memory."""
    enter_private()
    figures: list[Figure] = []
    tables: list[Table] = []
    with TemporaryDirectory(dir=MEMORY) as folder:
        os.environ["ANYPORT_LEDGER"] = f"{folder}/ledger"
        for by, environment in (("pip", BY_PIP), ("uv", BY_UV)):
            seconds = run_in_turn(environment / "bin", Path(folder))
            figures.append(Figure(f"`{RUN}` / `{TWO}`, by {by}", ratio(seconds[RUN], seconds[TWO]).worse(), "x", 2.8))
            tables.append(cost_table(seconds, by))
        port_file = f"{folder}/port"
        delays = in_turn({FILE: lambda: told_by_file(port_file), LIBRARY: told_by_library}, STARTS)
        figures += [*judge(delays[FILE]), *memory(port_file)]
    return Report("Running a program", figures, [*tables, delay_table(delays)])


def run_in_turn(scripts: Path, folder: Path) -> dict[str, list[float]]:
    """Seconds of each round."""
    true = shutil.which("true") or "/bin/true"
    python = [str(scripts / "python"), "-I", "-c", "pass"]
    commands = {RUN: [[str(scripts / "anyport"), "run", "--", true]], TWO: [python, [true]], PASS: [python]}
    with Launcher() as launcher:

        def seconds(each: Sequence[Sequence[str]]) -> float:
            return sum(launcher.run(folder / "ledger", words)[0] for words in each)

        rivals = {name: lambda each=each: seconds(each) for name, each in commands.items()}
        return {name: each[1:] for name, each in in_turn(rivals, ROUNDS).items()}


def cost_table(seconds: Mapping[str, Sequence[float]], by: str) -> Table:
    rows = []
    for name, each in seconds.items():
        against = ratio(each, seconds[TWO])
        rows.append((name, f"{median(each) * 1e3:.2f}", f"{against.of_medians:.2f}, {against.of_rounds:.2f}"))
    return Table(f"Installed by {by}", ("command", "ms", f"x {TWO} (medians, rounds)"), rows)


def told_by_file(path: str, *options: str) -> float:
    """Milliseconds from listen until the port file is there."""
    with started(server(), "--port-file", path, *options) as runner:
        wait_for(path, runner)
        told = time.monotonic_ns()
        assert runner.stdout
        listened = int(runner.stdout.readline())
    os.unlink(path)
    return (told - listened) / 1e6


def wait_for(path: str, runner: subprocess.Popen[bytes]) -> None:
    while not os.path.exists(path):
        assert runner.poll() is None
        time.sleep(LOOK)


@contextmanager
def started(program: Sequence[str], *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """`anyport run` with a program, until it is terminated."""
    command = (str(BY_PIP / "bin/anyport"), "run", *options, "--", *program)
    with subprocess.Popen(command, stdout=subprocess.PIPE) as runner:
        yield runner
        runner.terminate()


def told_by_library() -> float:
    """Milliseconds from listen until anyport.run returns."""
    pipe, output = os.pipe()
    with resolve_name("anyport:run")(server(), stdout=output):
        told = time.monotonic_ns()
        os.close(output)
        with open(pipe, encoding="ascii") as lines:
            listened = int(lines.readline())
    return (told - listened) / 1e6


def server() -> list[str]:
    """One that says when it listens."""
    return [sys.executable, "-I", "-S", "-c", SERVER, f"{next(_steps) % STEPS * STEP:.4f}"]


def judge(delays: Sequence[float]) -> list[Figure]:
    what = "from listen until the port file is there"
    return [
        Figure(f"{what}, median", median(delays), "ms", 5.0),
        Figure(f"{what}, 95th percentile", percentile(delays, 95), "ms", 5.0),
    ]


def percentile(values: Sequence[float], which: int) -> float:
    return quantiles(values, n=100, method="inclusive")[which - 1]


def delay_table(delays: Mapping[str, Sequence[float]]) -> Table:
    head = ("told by", "median ms", "95th percentile", "longest")
    rows = [
        (name, *(f"{value:.2f}" for value in (median(each), percentile(each, 95), max(each))))
        for name, each in delays.items()
    ]
    return Table(f"From listen until it is told, {STARTS} starts of each", head, rows)


def memory(port_file: str) -> list[Figure]:
    """The resident memory of a runner and of a holder, while they wait."""
    with started(server(), "--port-file", port_file) as runner:
        wait_for(port_file, runner)
        running = resident(runner.pid)
    command = (str(BY_PIP / "bin/anyport"), "hold", "--for", "1m", "--json")
    held = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    holding = resident(held["holder"])
    subprocess.run((*command[:2], "--release", str(held["port"])), check=True)
    return [
        Figure("the runner's resident memory (VmRSS)", running, "MiB", 18.0),
        Figure("the holder's resident memory (VmRSS)", holding, "MiB", 14.0),
    ]


def resident(pid: int) -> float:
    time.sleep(AT_REST)
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


if __name__ == "__main__":
    show(measure)
