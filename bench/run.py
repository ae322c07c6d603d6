"""Run all benches, write RESULTS.md, and draw docs/race.svg."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from importlib.metadata import version
from typing import Any

import race_plot
from common import HERE, RIVALS, Figure, Report, Table, as_markdown, enter, grid

BENCHES = ("in_process", "command", "run_command", "supervision", "walk", "names", "who", "suite", "portserver", "race")
PYTEST = ("pytest", "pytest-xdist", "pytest-asyncio", "anyio")
HEAD = """\
# Results

Written by `bench/run.py`. Everything that is compared ran in turn in the same run. Of each comparison two ratios were
taken, that of the medians and the median of the rounds' own ratios; the one that is worse for anyport counts.
"""
REPEAT = f"""\
## To repeat it

```sh
python3 bench/run.py{"".join(f"{chr(10)}python3 bench/{name}.py" for name in BENCHES)}
python3 bench/race_plot.py  # the picture again, from race.json
```

Each takes `--json`. All but `in_process.py` need Linux, `unshare` and `ip`: they make a network namespace of their own.
"""


def main() -> None:
    """Run all benches, write RESULTS.md, and draw docs/race.svg."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--json", action="store_true", help="write everything to standard output as data, too")
    as_json = parser.parse_args().json
    enter()
    data = {name: run(name) for name in BENCHES}
    (HERE / "RESULTS.md").write_text(results([as_report(each) for each in data.values()]))
    race_plot.keep(data["race"]["data"])
    if as_json:
        print(json.dumps(data, indent=2))


def run(name: str) -> dict[str, Any]:
    print(f"{name} ...", file=sys.stderr)
    command = (sys.executable, str(HERE / f"{name}.py"), "--json")
    data: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return data


def as_report(data: dict[str, Any]) -> Report:
    figures = [Figure(**{field: each[field] for field in Figure._fields}) for each in data["figures"]]
    return Report(data["title"], figures, [Table(**each) for each in data["tables"]])


def results(reports: list[Report]) -> str:
    sections = [as_markdown(each) for each in reports]
    return "\n\n".join([HEAD + "\n" + summary(reports), machine(), *sections, REPEAT])


def summary(reports: list[Report]) -> str:
    figures = [each for report in reports for each in report.figures]
    missed = [each.what for each in figures if each.is_missed()]
    if not missed:
        return f"All {len(figures)} limits were reached."
    return f"**{len(missed)} of {len(figures)} limits were missed:** {'; '.join(missed)}."


def machine() -> str:
    rows = [
        ("CPUs", os.cpu_count()),
        ("kernel", f"{platform.system()} {platform.release().partition('-')[0]}"),
        ("Python", platform.python_version()),
        ("installers", f"pip {version('pip')}, uv {version('uv')}"),
        ("rivals", ", ".join(RIVALS)),
        ("ss", subprocess.run(["ss", "-V"], check=True, capture_output=True, text=True).stdout.strip()),
        ("lsof", lsof_version()),
        ("psutil", version("psutil")),
        ("pytest", ", ".join(f"{name} {version(name)}" for name in PYTEST)),
        ("redis-server", first_number(["redis-server", "--version"])),
    ]
    return "## Machine\n\n" + grid(("what", "which"), rows)


def first_number(command: list[str]) -> str:
    """The first version that a command says."""
    found = re.search(r"\d[\w.]*", subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found[0] if found else "?"


def lsof_version() -> str:
    """What it says of itself, to standard error."""
    lines = subprocess.run(["lsof", "-v"], check=True, capture_output=True, text=True).stderr.splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.strip().startswith("revision:"))


if __name__ == "__main__":
    main()
