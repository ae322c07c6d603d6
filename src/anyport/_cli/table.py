"""A table for people: aligned columns, lines cut to the width of the terminal."""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def table(header: "Sequence[str]", rows: "Sequence[Sequence[str]]", width: "int | None" = None) -> str:
    """The rows under their header, two spaces between columns; empty columns are left out.

    What stands at the end of a line is cut so that none is longer than `width` (None: it is never cut).
    """
    kept = [at for at in range(len(header)) if any(row[at] for row in rows)]
    lines = [[each[at] for at in kept] for each in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = ("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
    return "".join(f"{_cut(line, width)}\n" for line in padded) if kept else ""


def _cut(text: str, room: "int | None") -> str:
    return text if room is None or len(text) <= room else f"{text[: max(0, room - 3)]}..."[:room]


def terminal_width() -> "int | None":
    """The columns of the terminal that standard output is, or None if it is none: a pipe gets everything."""
    try:
        return os.get_terminal_size(1).columns or None
    except OSError:
        return None
