"""What the benches share: their own environment, rivals measured in turn, figures with their limits, tables."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
BY_PIP = HERE / ".venv" / f"{PYTHON}-pip"  # the rivals are here too
BY_UV = HERE / ".venv" / f"{PYTHON}-uv"
RIVALS = ("portpicker==1.6.0", "ephemeral-port-reserve==1.1.4", "port-for==1.1.1")
MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None  # where the ledger lies by default on most machines

T = TypeVar("T")


class Table(NamedTuple):
    """Rows under a title."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[object]]


class Figure(NamedTuple):
    """What was measured, and the most it may be; the aim is lower still."""

    what: str
    measured: float
    unit: str
    limit: float
    aim: float | None = None

    def is_missed(self) -> bool:
        """Whether more was measured than may be."""
        return self.measured > self.limit

    def verdict(self) -> str:
        """Whether the limit is kept, in words."""
        if self.is_missed():
            return "**missed**"
        return "reached" if self.aim is None or self.measured <= self.aim else "reached, but not the aim"


class Report(NamedTuple):
    """What a bench has to say; `data` is for who draws it."""

    title: str
    figures: Sequence[Figure]
    tables: Sequence[Table]
    data: object = None


class Ratio(NamedTuple):
    """How many times as long as the other: of the two medians, and the median of the rounds' own ratios."""

    of_medians: float
    of_rounds: float

    def worse(self) -> float:
        """The one that counts: noise must not help us."""
        return max(self)


def in_turn(rivals: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """What each rival returns, once a round; who begins changes from round to round."""
    names = list(rivals)
    results: dict[str, list[T]] = {name: [] for name in names}
    for step in range(rounds):
        for place in range(len(names)):
            name = names[(step + place) % len(names)]
            results[name].append(rivals[name]())
    return results


def ratio(mine: Sequence[float], other: Sequence[float]) -> Ratio:
    rounds = [one / two for one, two in zip(mine, other, strict=True)]
    return Ratio(median(mine) / median(other), median(rounds))


def calls(function: Callable[[], object], count: int) -> Callable[[], float]:
    """A rival for in_turn: the seconds that one of `count` calls in a row takes."""

    def measure() -> float:
        begin = time.perf_counter()
        for _ in range(count):
            function()
        return (time.perf_counter() - begin) / count

    return measure


def show(measure: Callable[[], Report]) -> None:
    """Measure, and print tables, or with --json everything as data."""
    assert measure.__doc__
    parser = argparse.ArgumentParser(description=measure.__doc__)
    parser.add_argument("--json", action="store_true", help="everything as data")
    as_json = parser.parse_args().json
    enter()
    report = measure()
    print(json.dumps(as_data(report), indent=2) if as_json else as_markdown(report))


def as_data(report: Report) -> dict[str, object]:
    figures = [{**each._asdict(), "verdict": each.verdict()} for each in report.figures]
    tables = [each._asdict() for each in report.tables]
    return {"title": report.title, "figures": figures, "tables": tables, "data": report.data}


def as_markdown(report: Report) -> str:
    parts = [f"## {report.title}", figures_as_markdown(report.figures)]
    parts += [f"{each.title}\n\n{grid(each.head, each.rows)}" for each in report.tables]
    return "\n\n".join(parts)


def figures_as_markdown(figures: Sequence[Figure]) -> str:
    rows = [(each.what, _number(each.measured, each.unit), _limit(each), each.verdict()) for each in figures]
    return grid(("figure", "measured", "limit", "verdict"), rows)


def _limit(figure: Figure) -> str:
    limit = _number(figure.limit, figure.unit)
    return limit if figure.aim is None else f"{limit} (aim {_number(figure.aim, figure.unit)})"


def _number(value: float, unit: str) -> str:
    if unit == "x":
        return f"{value:.2f} x" if value >= 0.1 else f"{value:.2g} x"
    return f"{value:,.1f} {unit}" if unit in ("ms", "MiB") else f"{value:,.0f} {unit}"


def grid(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    from importlib import import_module  # tabulate is in the benches' own environment only

    return str(import_module("tabulate").tabulate(rows, head, "github", disable_numparse=True))


def enter() -> None:
    """Go on in the environment of the benches, which is made first if it is missing or older than the sources."""
    for name in [name for name in os.environ if name.startswith(("PYTHON", "ANYPORT"))]:
        del os.environ[name]  # PYTHONDONTWRITEBYTECODE doubles the time of what uv installed
    python = str(BY_PIP / "bin/python")
    if Path(sys.prefix) != BY_PIP:
        _make(python)
        os.execv(python, [python, *sys.argv])


def _make(python: str) -> None:
    rivals, project = BY_PIP / "rivals-installed", BY_PIP / "project-installed"
    if not _is_newer(rivals, [Path(__file__), ROOT / "pyproject.toml"]):  # the versions of packages stand in both
        _run(sys.executable, "-m", "venv", "--clear", str(BY_PIP))
        _run(python, "-m", "pip", "install", "--quiet", "--upgrade", "pip")
        _run(python, "-m", "pip", "install", "--quiet", "--group", f"{ROOT / 'pyproject.toml'}:bench", *RIVALS)
        rivals.touch()
    if not _is_newer(project, [ROOT / "pyproject.toml", rivals, *ROOT.glob("src/**/*.py")]):
        _install_project(python)
        project.touch()


def _install_project(python: str) -> None:
    """Install one wheel in both ways."""
    uv = str(BY_PIP / "bin/uv")
    with TemporaryDirectory() as folder:
        _run(python, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, str(ROOT))
        wheel = str(next(Path(folder).glob("*.whl")))
        _run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--force-reinstall", wheel)
        _run(uv, "venv", "--quiet", "--clear", "--python", python, str(BY_UV))
        _run(uv, "pip", "install", "--quiet", "--no-cache", "--python", str(BY_UV / "bin/python"), wheel)


def _is_newer(stamp: Path, sources: list[Path]) -> bool:
    return stamp.exists() and stamp.stat().st_mtime > max(each.stat().st_mtime for each in sources)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=sys.stderr)


def enter_private() -> None:
    """Go on in a network namespace of our own, in which nobody else has a port; who is not root becomes it there."""
    if not os.environ.get("BENCH_IS_PRIVATE"):
        os.environ["BENCH_IS_PRIVATE"] = "1"
        as_root = [] if os.geteuid() == 0 else ["--map-root-user"]
        os.execvp("unshare", ["unshare", "--net", *as_root, sys.executable, *sys.argv])
    _run("ip", "link", "set", "lo", "up")
