"""Draw docs/race.svg from race.json, which bench/run.py writes; or another picture: race_plot.py FILE."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from importlib import import_module
from typing import Any

from common import HERE, ROOT, enter

DATA, PICTURE = HERE / "race.json", ROOT / "docs/race.svg"
STYLE = {
    "svg.fonttype": "none",  # text as text
    "svg.hashsalt": "race",  # else each drawing has other ids
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
}
SERVERS = {"plain": ("#c2410c", "o", 0.17), "SO_REUSEADDR": ("#1d4ed8", "D", -0.17)}  # color, marker, place in the row
GREY = "#6b7280"
TICKS = (0, 1, 10, 100, 1_000, 10_000)

Outcome = dict[str, Any]


def main() -> None:
    """Draw docs/race.svg from race.json."""
    enter()
    draw(json.loads(DATA.read_text()), sys.argv[1] if sys.argv[1:] else str(PICTURE))


def keep(outcomes: list[Outcome]) -> None:
    """Write race.json, and draw the picture."""
    DATA.write_text("[\n" + ",\n".join(map(json.dumps, outcomes)) + "\n]\n")
    draw(outcomes, str(PICTURE))


def draw(outcomes: list[Outcome], path: str) -> None:
    """One panel for each size of the range, one row for each way, one mark for each kind of server."""
    matplotlib = import_module("matplotlib")  # in the benches' own environment only
    matplotlib.use("agg")
    pyplot = import_module("matplotlib.pyplot")
    panels = defaultdict(list)
    for each in outcomes:
        panels[each["size"]].append(each)
    ways = list(dict.fromkeys(each["way"] for each in outcomes))
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(1, len(panels), sharey=True, figsize=(10, 0.42 * len(ways) + 1.6))
        for panel, (size, of_size) in zip(axes, panels.items(), strict=True):
            scales(panel, ways, size)
            for outcome in of_size:
                mark(panel, ways, outcome)
        for label in axes[0].get_yticklabels():
            label.set_fontweight("bold" if label.get_text().startswith("anyport") else "normal")
        figure.suptitle("Failed hand-overs per 10,000, with 32 workers and others taking ports", x=0.01, ha="left")
        handles, labels = legend(pyplot)
        figure.legend(handles, labels, loc="lower left", ncols=len(labels), frameon=False, handletextpad=0.2)
        figure.tight_layout(rect=(0, 0.05, 1, 1))
        figure.savefig(path, metadata={"Date": None} if path.endswith(".svg") else None, facecolor="white")


def scales(panel: Any, ways: list[str], size: int) -> None:  # noqa: ANN401 - matplotlib is not here for mypy
    panel.set_title(f"{size:,} ephemeral ports", loc="left", fontsize=10, color=GREY)
    panel.set_xscale("symlog", linthresh=1)
    panel.set_xlim(-0.3, 45_000)
    panel.set_xticks(TICKS, [f"{tick:,}" for tick in TICKS])
    panel.minorticks_off()
    panel.set_yticks(range(len(ways)), ways)
    panel.set_ylim(len(ways) - 0.4, -0.6)
    panel.tick_params(axis="y", length=0)
    panel.grid(axis="x", color="#e5e7eb", linewidth=0.8)
    panel.set_axisbelow(True)


def mark(panel: Any, ways: list[str], outcome: Outcome) -> None:  # noqa: ANN401
    """A mark, hollow if most of the failures were refusals, with its number beside it."""
    color, marker, place = SERVERS[outcome["server"]]
    failed = outcome["lost"] + outcome["no_port"]
    value = failed * 10_000 / (outcome["done"] + failed)
    row = ways.index(outcome["way"]) - place
    fill = "white" if outcome["no_port"] > outcome["lost"] else color
    panel.plot(value, row, marker, color=color, markerfacecolor=fill, markersize=6, clip_on=False)
    beside = {"xy": (value, row), "textcoords": "offset points", "va": "center", "fontsize": 8}
    panel.annotate(f"{value:,.0f}", xytext=(7, 0), color=color, **beside)
    if "hold" in outcome["way"] and outcome["server"] == "plain":
        panel.annotate("can't bind what is held, as it should be", xytext=(-7, 0), ha="right", color=GREY, **beside)


def legend(pyplot: Any) -> tuple[list[Any], list[str]]:  # noqa: ANN401
    marks = [(color, marker, color) for color, marker, _ in SERVERS.values()]
    marks.append((GREY, "o", "white"))
    handles = [
        pyplot.Line2D([], [], color=color, marker=marker, markerfacecolor=fill, linestyle="")
        for color, marker, fill in marks
    ]
    return handles, ["server without SO_REUSEADDR", "server with it", "hollow: mostly no port was given at all"]


if __name__ == "__main__":
    main()
