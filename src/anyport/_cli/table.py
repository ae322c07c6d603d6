"""A table for people: aligned columns, lines cut to the width of the terminal."""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def table(header: "Sequence[str]", rows: "Sequence[Sequence[str]]", width: "int | None" = None) -> str:
    """Return the rows under their header, two spaces between columns; empty columns are left out.

    What stands at the end of a line is cut so that none is longer than `width` (None: it is never cut).
    """
    kept = [at for at in range(len(header)) if any(row[at] for row in rows)]
    lines = [[each[at] for at in kept] for each in (header, *rows)]
    widths = [max(map(_columns, column)) for column in list(zip(*lines, strict=True))[:-1]]
    padded = ("  ".join([*map(_fill, line, widths), line[-1]]).rstrip() for line in lines)
    return "".join(f"{_cut(line, width)}\n" for line in padded) if kept else ""


def _columns(text: str) -> int:
    """Count the columns of a terminal that a text takes: CJK signs take two each, accents none."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(each) else 2 if east_asian_width(each) in "WF" else 1 for each in text)


def _fill(text: str, width: int) -> str:
    return text + " " * (width - _columns(text))


def _cut(text: str, room: "int | None") -> str:
    if room is None or _columns(text) <= room:
        return text
    return _beginning(text, room - 3) + "..."[:room]


def _beginning(text: str, room: int) -> str:
    # From the left: a command line may have millions of signs.
    for at, each in enumerate(text):
        room -= _columns(each)
        if room < 0:
            return text[:at]
    return text


def terminal_width() -> "int | None":
    """Return the columns of the terminal that standard output is, or None if it is none: a pipe gets everything."""
    try:
        return os.get_terminal_size(1).columns or None
    except OSError:
        return None
