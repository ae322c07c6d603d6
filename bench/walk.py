"""`anyport --from N` with 20,000 numbers above N taken, against the pipeline that people use."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import time
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from common import BY_PIP, MEMORY, Figure, Report, Table, enter_private, in_turn, ratio, show

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from multiprocessing.synchronize import Barrier, Event

FIRST, TAKEN = 10_000, 20_000
PROCESSES = 8  # because of RLIMIT_NOFILE
ROUNDS = 15
# Which numbers are bound and not listened on: the pipeline is quicker the less it sees, and wrong at the first of them.
STATES = {"every hundredth bound only": 100, "every second bound only": 2}
OURS, PIPELINE = f"anyport --from {FIRST}", "ss, awk, sort, awk"
SCRIPT = f"""\
ss -tln |
  awk 'NR > 1 {{ gsub(/.*:/, "", $4); print $4 }}' |
  sort -un |
  awk -v n={FIRST} '$0 < n {{ next }}; $0 == n {{ n++; next }}; {{ exit }}; END {{ print n }}'
"""

Result = tuple[float, int, bool]  # seconds, the answer, whether it could be bound


def measure() -> Report:
    """The first unused number at or above N when 20,000 are taken, some of them bound but not listening."""
    enter_private()
    figures: list[Figure] = []
    tables: list[Table] = []
    for title, every in STATES.items():
        results = answers(every)
        seconds = {name: [each[0] for each in runs] for name, runs in results.items()}
        unusable = sum(not each[2] for each in results[OURS])
        figures += [
            Figure(f"`{OURS}` / `{PIPELINE}`, {title}", ratio(seconds[OURS], seconds[PIPELINE]).worse(), "x", 1.0),
            Figure(f"answers of `{OURS}` that can't be bound, {title}", unusable, f"of {ROUNDS}", 0),
        ]
        tables.append(table(title, results))
    return Report(f"The first unused number from {FIRST} on, {TAKEN:,} taken", figures, tables)


def answers(every: int) -> dict[str, list[Result]]:
    with everything_taken(every), TemporaryDirectory(dir=MEMORY) as folder:
        os.environ["ANYPORT_LEDGER"] = f"{folder}/ledger"
        ways = {OURS: [str(BY_PIP / "bin/anyport"), "--from", str(FIRST)], PIPELINE: ["sh", "-c", SCRIPT]}
        return in_turn({name: partial(ask, command) for name, command in ways.items()}, ROUNDS)


def table(state: str, results: dict[str, list[Result]]) -> Table:
    rows = []
    for name, runs in results.items():
        milliseconds = f"{median(each[0] for each in runs) * 1e3:.1f}"
        rows.append((name, milliseconds, runs[0][1], f"{sum(each[2] for each in runs)} of {len(runs)}"))
    title = f"All listened on, but {state}. The pipeline does not see those:\n\n```sh\n{SCRIPT}```"
    return Table(title, ("way", "ms", "first answer", "answers that could be bound"), rows)


def ask(command: Sequence[str]) -> Result:
    begin = time.perf_counter()
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds = time.perf_counter() - begin
    return seconds, int(answer), is_bindable(int(answer))


def is_bindable(port: int) -> bool:
    with socket.socket() as sock:
        try:
            sock.bind(("", port))
        except OSError:
            return False
    return True


@contextmanager
def everything_taken(every: int) -> Iterator[None]:
    """All numbers from FIRST on are in use by other processes."""
    context = get_context("fork")
    ready, done = context.Barrier(PROCESSES + 1), context.Event()
    shares = [range(FIRST + start, FIRST + TAKEN, PROCESSES) for start in range(PROCESSES)]
    children = [context.Process(target=occupy, args=(ports, every, ready, done), daemon=True) for ports in shares]
    for child in children:
        child.start()
    ready.wait()
    yield
    done.set()
    for child in children:
        child.join()


def occupy(ports: range, every: int, ready: Barrier, done: Event) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    sockets = [occupied(port, every) for port in ports]
    ready.wait()
    done.wait()
    for sock in sockets:
        sock.close()


def occupied(port: int, every: int) -> socket.socket:
    sock = socket.socket()
    sock.bind(("", port))
    if port % every != 1:
        sock.listen()
    return sock


if __name__ == "__main__":
    show(measure)
