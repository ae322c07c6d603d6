"""1,000 names on one machine: how many share a first number, and whether all get one of their own at once."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

from common import BY_PIP, MEMORY, Figure, Report, Table, enter_private, show

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    Known = tuple[str, str, str, int]  # kind of name, name, label, user

NAMES = 1_000
PROCESSES = 50  # of the library, each with its share of the names
ONE_IN = 10_000  # sets of names, by chance, share more first numbers than the limit
SETS: dict[str, Callable[[int], Known]] = {
    "agent-0, agent-1, ...": lambda number: ("name", f"agent-{number}", "", 1000),
    "0, 1, ...": lambda number: ("name", str(number), "", 1000),
    "a, aa, aaa, ...": lambda number: ("name", "a" * (number + 1), "", 1000),
    "one name, labels l0, l1, ...": lambda number: ("name", "app", f"l{number}", 1000),
    "work trees /home/alice/src/app-0, ...": lambda number: ("here", f"/home/alice/src/app-{number}", "", 1000),
    "one work tree, users 1000, 1001, ...": lambda number: ("here", "/srv/app", "", 1000 + number),
}
SHARED = """\
Names whose first number an earlier one of their set has, too. Where {names:,} names are spread by chance over the
{size:,} numbers of the quiet range, it is {expected:.1f} on average, and more than {most} in one of {one_in:,} sets."""
AT_ONCE = """\
Everybody at once: they wait at a gate and begin together, in a new ledger; then all ask again, with the claims of the
first time there. Moved: to the next number of the name, for another name had come first. Told so: by a note on standard
error, which the library does not write."""

ANYPORT = str(BY_PIP / "bin/anyport")
KEEP = "10m"  # longer than both questions take
GATE = 'read _; exec "$@"'  # it waits for the end of its standard input
SHARE = f"""\
import sys, anyport
sys.stdin.read()
print(*(anyport.find(name=name, keep={KEEP!r}) for name in sys.argv[1:]), sep="\\n")
"""
TEXTS = [f"agent-{number}" for number in range(NAMES)]


class Result(NamedTuple):
    """What came of a question by everybody at once."""

    numbers: Sequence[int]
    claimed: int  # names whose number is theirs in the ledger
    moved: int
    told: int
    warned: int  # that the ledger could not be had
    seconds: float


def measure() -> Report:
    """1,000 names on one machine: how many share a first number, and whether all get one of their own at once."""
    enter_private()
    shared = {title: NAMES - len(first_numbers(map(known, range(NAMES)))) for title, known in SETS.items()}
    expected, most = birthday(NAMES, size_of_order())
    results = {f"{NAMES:,} commands": twice(commands), f"{PROCESSES} processes of the library": twice(library)}
    figures = [
        *(Figure(f"names that share a first number: {title}", each, "", most) for title, each in shared.items()),
        *(figure for way, (first, again) in results.items() for figure in judged(way, first, again)),
    ]
    about = SHARED.format(names=NAMES, size=size_of_order(), expected=expected, most=most, one_in=ONE_IN)
    rows = [(title, each, f"{expected:.1f}") for title, each in shared.items()]
    head = (f"{NAMES:,} names", "share a first number", "by chance")
    return Report(f"{NAMES:,} names", figures, [Table(about, head, rows), table(results)])


def orders(known: Iterator[Known]) -> Iterator[Iterator[int]]:
    """Of each name: its numbers in their order, with the kernel's default settings."""
    from anyport._find.candidates import Offer, in_order_of_name
    from anyport._find.names import digest
    from anyport._linux.sysctl import PortSettings

    settings = PortSettings(32768, 60999, frozenset())
    offer = Offer(settings)
    return (in_order_of_name(digest(*each), settings.is_ephemeral, offer) for each in known)


def first_numbers(known: Iterator[Known]) -> set[int]:
    return set(map(next, orders(known)))


def size_of_order() -> int:
    """How many numbers a name has."""
    return len(set(next(orders(iter([("name", "x", "", 0)])))))


def birthday(names: int, size: int) -> tuple[float, int]:
    """How many names meet an earlier one, on average, and in all but one of ONE_IN cases at most.

    So few of so many are met nearly independently of each other, so their number is distributed like Poisson's.
    """
    average = names - size * (1 - (1 - 1 / size) ** names)
    most, share = 0, math.exp(-average)
    total = share
    while 1 - total > 1 / ONE_IN:
        most += 1
        share *= average / most
        total += share
    return average, most


def judged(way: str, first: Result, again: Result) -> Iterator[Figure]:
    """Nobody may lack anything; each figure counts those who do."""
    changed = sum(one != other for one, other in zip(first.numbers, again.numbers, strict=True))
    yield Figure(f"{way} at once: names without a number of their own", NAMES - len(set(first.numbers)), "", 0)
    yield Figure(f"{way} at once: names whose number is not theirs in the ledger", NAMES - first.claimed, "", 0)
    yield Figure(f"{way} at once: names that have another number when all ask again", changed, "", 0)


def table(results: Mapping[str, tuple[Result, Result]]) -> Table:
    rows = []
    for way, both in results.items():
        for title, each in zip((way, "the same again"), both, strict=True):
            distinct = f"{len(set(each.numbers)):,} of {NAMES:,}"
            claimed = f"{each.claimed:,} of {NAMES:,}"
            rows.append((title, distinct, claimed, each.moved, each.told, each.warned, f"{each.seconds:.1f}"))
    head = ("who", "different numbers", "claimed by the name", "moved", "told so", "ledger out of reach", "s")
    return Table(AT_ONCE, head, rows)


def twice(ask: Callable[[str], list[tuple[int, str]]]) -> tuple[Result, Result]:
    with TemporaryDirectory(dir=MEMORY) as folder:
        os.environ["ANYPORT_LEDGER"] = f"{folder}/ledger"
        return result(ask, folder), result(ask, folder)


def result(ask: Callable[[str], list[tuple[int, str]]], folder: str) -> Result:
    begin = time.perf_counter()
    answers = ask(folder)
    seconds = time.perf_counter() - begin
    numbers = [number for number, _ in answers]
    own = map(next, orders(known_here(text) for text in TEXTS))
    return Result(
        numbers,
        claimed=sum(map(is_claimed_by, numbers, TEXTS)),
        moved=sum(number != first for number, first in zip(numbers, own, strict=True)),
        told=sum("claimed by another caller" in said for _, said in answers),
        warned=sum("ledger" in said for _, said in answers),
        seconds=seconds,
    )


def known_here(text: str) -> Known:
    return "name", text, "", os.geteuid()


def is_claimed_by(number: int, text: str) -> bool:
    """Whether the ledger has this number for this name."""
    from anyport._find.names import digest
    from anyport._ledger.record import NAME, SLOT, name_of, offset

    with open(os.environ["ANYPORT_LEDGER"], "rb") as ledger:
        record = os.pread(ledger.fileno(), SLOT, offset(number))
    return record[0] == NAME and name_of(record) == int.from_bytes(digest(*known_here(text))[16:], "little")


def commands(folder: str) -> list[tuple[int, str]]:
    """A command for each name."""
    lines = [["sh", "-c", GATE, "sh", ANYPORT, "--name", text, "--keep", KEEP] for text in TEXTS]
    return [(int(output), said) for output, said in through_gate(lines, folder)]


def library(folder: str) -> list[tuple[int, str]]:
    """A process for each share of the names."""
    size = NAMES // PROCESSES
    lines = [[sys.executable, "-c", SHARE, *TEXTS[start : start + size]] for start in range(0, NAMES, size)]
    outputs = list(through_gate(lines, folder))
    return [(int(number), said) for output, said in outputs for number in output.split()]


def through_gate(lines: Sequence[Sequence[str]], folder: str) -> Iterator[tuple[str, str]]:
    """Start all of these, open the gate when they are there, and yield what each wrote: output and talk."""
    gate, opener = os.pipe()
    children = []
    for number, line in enumerate(lines):
        with open(f"{folder}/{number}.out", "w") as out, open(f"{folder}/{number}.err", "w") as err:
            children.append(subprocess.Popen(line, stdin=gate, stdout=out, stderr=err))
    os.close(gate)
    os.close(opener)
    for number, child in enumerate(children):
        output, said = (Path(f"{folder}/{number}.{kind}").read_text() for kind in ("out", "err") if not child.wait())
        yield output, said


if __name__ == "__main__":
    show(measure)
