"""The order: what the library asks of the runner that it starts, one line of JSON that the runner makes its plan of.

`selection` has the options of `Selection`, `plan` those of `Plan`, the program's whole environment among them, unless
it is the caller's; `variables` are more variables with placeholders, and `caller` is the pid of the process that the
program must not outlive, or 0.  The command is no part of it: it stands behind `--` on the runner's own command line,
for everybody to see.
"""

import os

from anyport._find.selection import Selection
from anyport._run.plan import Plan
from anyport._run.template import Template
from anyport.errors import InvalidSelection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    Order = dict[str, Any]

FROM_LIBRARY = "--from-library="  # two descriptors: of the order, and of the pipe for the report


def pack(order: "Order") -> bytes:
    """Return the line for an order; its texts get the bytes that they would have on a command line."""
    from json import dumps

    return os.fsencode(dumps(order, ensure_ascii=False, default=str)) + b"\n"


def unpack(line: bytes) -> "Order | None":
    """Return the order of a line, or None if there is none in it, or half of one: whoever wrote it has ended."""
    from json import loads

    try:
        return loads(os.fsdecode(line)) if line.startswith(b"{") and line.endswith(b"}\n") else None
    except ValueError:
        return None


def descriptors(word: str) -> "tuple[int, int]":
    """Return the two descriptors that the runner's first argument names."""
    numbers = word.removeprefix(FROM_LIBRARY).split(",")
    if len(numbers) != 2 or not all(each.isdecimal() and len(each) < 10 for each in numbers):
        raise InvalidSelection(f"{word} is for the library, which starts this command", hint="leave it out")
    return int(numbers[0]), int(numbers[1])


def plan_of(order: "Order", command: "Sequence[str]") -> Plan:
    """Return the checked plan of an order for this command, whose readiness the library waits for."""
    selection = Selection(**order["selection"])
    template = Template(command, order["variables"], selection.labels)
    return Plan(selection, template, is_awaited=True, **order["plan"])
