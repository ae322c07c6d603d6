"""A table for people: aligned columns, the last one cut to the width of the terminal."""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_NARROWEST = 20  # columns of the terminal that the last column may fill at least


def table(header: "Sequence[str]", rows: "Sequence[Sequence[str]]", width: "int | None" = None) -> str:
    """The rows under their header, two spaces between columns; empty columns are left out.

    The last column is cut so that no line is longer than `width` (None: it is never cut).
    """
    kept = [at for at in range(len(header)) if any(row[at] for row in rows)]
    lines = [[each[at] for at in kept] for each in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ""
    for line in lines:
        start = "".join(f"{cell:<{room + 2}}" for cell, room in zip(line[:-1], widths, strict=False))
        text += (
            f"{start}{_cut(line[-1], None if width is None else max(_NARROWEST, width - len(start)))}".rstrip() + "\n"
        )
    return text


def _cut(text: str, room: "int | None") -> str:
    return text if room is None or len(text) <= room else f"{text[: room - 3]}..."


def terminal_width() -> "int | None":
    """The columns of the terminal that standard output is, or None if it is none: a pipe gets everything."""
    try:
        return os.get_terminal_size(1).columns or None
    except OSError:
        return None
