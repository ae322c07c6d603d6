"""A parallel test suite that starts a server in each test, by who chooses its port; the pytest plugin's import time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET

from common import HERE, MEMORY, Figure, Report, Table, enter_private, in_turn, show

TESTS = 400
NOT_STARTED = "the server could not have its port"
NOT_OURS = "another server answered"
WORKERS = 16
FIRST, SIZE = 40_000, 600  # the ephemeral range
QUICK = int(os.environ.get("SUITE_COUNT", "20"))  # for a quick look: so often each
OURS = {"run_on_port": "anyport's run_on_port", "unused_port": "anyport's unused_port"}
RIVALS = {
    "bind_0_and_close": "bind 0 and close",
    "free_tcp_port": "anyio's free_tcp_port",
    "unused_tcp_port": "pytest-asyncio's unused_tcp_port",
}
ABOUT = f"""\
{TESTS} tests by {WORKERS} workers, run again and again. Each test starts a redis-server on its port, and wants PONG and
the process id from it. The ephemeral range has {SIZE} ports, and nobody takes any but the suite itself, for its servers
and its connections to them. A suite has failed if one of its tests has."""
PLUGINS = ("anyport.pytest_plugin", "xdist.plugin", "pytest_asyncio.plugin", "anyio.pytest_plugin")
EMPTY = "empty_package.empty_plugin"
IMPORT = """
import sys, pytest
from time import perf_counter
sys.path.append(sys.argv[2])
begin = perf_counter()
__import__(sys.argv[1])
print(perf_counter() - begin)
"""
BY_PYTEST = """
import pytest
from importlib.metadata import EntryPoint
from time import perf_counter
load = EntryPoint.load
def timed(self):
    begin = perf_counter()
    plugin = load(self)
    if self.value == "anyport.pytest_plugin":
        print(perf_counter() - begin)
    return plugin
EntryPoint.load = timed
pytest.main(["--version", "--version"])
"""
ROUNDS = 41


class Outcome(NamedTuple):
    """What came of one run of the suite."""

    failed: int
    not_started: int
    not_ours: int
    seconds: float


def measure() -> Report:
    """Failed tests in a parallel suite of servers, by who chooses the port; and the pytest plugin's import time."""
    outcomes = {way: repeat(way, QUICK) for way in OURS}
    outcomes |= {way: repeat(way, max(QUICK // 2, 1)) for way in RIVALS}
    imports, figure = import_times()
    figures = [*(failures(way, outcomes[way]) for way in OURS), figure]
    data = {way: [each._asdict() for each in runs] for way, runs in outcomes.items()}
    return Report("A test suite", figures, [table(outcomes), imports], data)


def failures(way: str, runs: list[Outcome]) -> Figure:
    return Figure(f"{OURS[way]}, failed tests", sum(each.failed for each in runs), f"of {len(runs) * TESTS:,}", 0)


def table(outcomes: dict[str, list[Outcome]]) -> Table:
    head = (
        "who chooses the port", "tests", "failed", "of them: no server", "another server", "failed suites",
        "median seconds",
    )  # fmt: skip
    return Table(ABOUT, head, [row((OURS | RIVALS)[way], runs) for way, runs in outcomes.items()])


def row(name: str, runs: list[Outcome]) -> tuple[str, ...]:
    totals = [sum(column) for column in zip(*(each[:3] for each in runs), strict=True)]
    suites = f"{sum(each.failed > 0 for each in runs)} of {len(runs)}"
    seconds = f"{median(each.seconds for each in runs):.1f}"
    return (name, f"{len(runs) * TESTS:,}", *(f"{total:,}" for total in totals), suites, seconds)


def repeat(way: str, times: int) -> list[Outcome]:
    """Runs one after the other with one ledger, as of one user, each in a network namespace of its own."""
    with TemporaryDirectory(dir=MEMORY) as folder:
        environ = {**os.environ, "ANYPORT_LEDGER": f"{folder}/ledger", "SUITE_WAY": way}
        outcomes: list[Outcome] = []
        for number in range(times):
            print(f"  {way}, {number + 1} of {times} ...", file=sys.stderr)
            command = (sys.executable, __file__, "--one", f"{folder}/report.xml")
            answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environ).stdout
            outcomes.append(Outcome(**json.loads(answer)))
    return outcomes


def one(report: str) -> Outcome:
    enter_private()
    Path("/proc/sys/net/ipv4/ip_local_port_range").write_text(f"{FIRST} {FIRST + SIZE - 1}")
    begin = time.perf_counter()
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-q", f"-n{WORKERS}", "-c", os.devnull, "-p", "no:cacheprovider",
            "--junitxml", report, str(HERE / "suite_tests.py"),
        ],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    seconds = time.perf_counter() - begin
    reasons = failures_in(report)
    if done.returncode not in (0, 1) or (done.returncode == 1) != bool(reasons):
        raise SystemExit(f"pytest ended with status {done.returncode}:\n{done.stdout}")
    found = Counter(reasons)
    return Outcome(len(reasons), found[NOT_STARTED], found[NOT_OURS], seconds)


def failures_in(report: str) -> list[str]:
    """Why each test failed that did."""
    suite = ET.parse(report).getroot()
    cases: dict[str, list[Any]] = {}
    for case in suite.iter("testcase"):
        cases.setdefault(case.attrib["name"], []).extend([*case.iter("failure"), *case.iter("error")])
    assert len(cases) == TESTS
    texts = [reasons[0].attrib["message"] + (reasons[0].text or "") for reasons in cases.values() if reasons]
    known = (NOT_STARTED, NOT_OURS)
    return [next((reason for reason in known if reason in text), "something else") for text in texts]


def import_times() -> tuple[Table, Figure]:
    """Of plugins in a process that has pytest already, and of ours as pytest loads it."""
    with TemporaryDirectory() as folder:
        for part in ("empty_package/__init__.py", "empty_package/empty_plugin.py"):
            path = Path(folder, part)
            path.parent.mkdir(exist_ok=True)
            path.write_text('"""Nothing."""\n')
        rivals = {f"`{name}`": partial(milliseconds, IMPORT, name, folder) for name in (*PLUGINS, EMPTY)}
        rivals["`anyport.pytest_plugin`, by pytest, which looks into what it imports"] = partial(
            milliseconds, BY_PYTEST
        )
        found = {name: median(times) for name, times in in_turn(rivals, ROUNDS).items()}
    figure = Figure("import of the pytest plugin", found["`anyport.pytest_plugin`"], "ms", 1.0)
    rows = [(name, f"{value:.2f}") for name, value in found.items()]
    return Table(
        f"Import times, medians of {ROUNDS} processes that have pytest already", ("module", "ms"), rows
    ), figure


def milliseconds(code: str, *words: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", code, *words], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    return float(done.stdout.split("\n")[0]) * 1000


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(one(sys.argv[2])._asdict()))
    else:
        show(measure)
