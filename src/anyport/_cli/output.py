"""What the command writes: data to standard output, messages to standard error, never a traceback."""

import os
import sys
from errno import EPIPE

from anyport.errors import AnyportError, InvalidSelection, NoUnusedPort, TimedOut

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from anyport._find.found import Answer
    from anyport._find.selection import Selection
    from anyport._occupant import Occupant, Refusal
    from anyport._portserver.client import Served

DONE, NOTHING_THERE, USAGE, FAILED = 0, 1, 2, 125
_MOST = 12  # refusals that a message lists
_SHELL_FILE = "the shell file"  # in messages


class OutputError(AnyportError, OSError):
    """Say that standard output is closed, full or broken."""


class BrokenPipe(OutputError):
    """Say that the program that reads our output has ended."""


def tell(kind: str, message: str, hint: str) -> None:
    """Write a message, and on a line of its own the way out, to standard error."""
    text = f"anyport: {kind + ': ' if kind else ''}{message}\n"
    if hint:
        text += f"hint: {hint}\n"
    if sys.stderr is not None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except OSError:
            return  # there is nowhere left to say it


def fail(error: AnyportError, *, json: bool = False, status: int = NOTHING_THERE) -> int:
    """Say what failed; return the exit status: `status` if the question was right and could not be answered."""
    message = str(error)
    refusals = error.refusals if isinstance(error, NoUnusedPort) else []
    if json and not isinstance(error, (OutputError, InvalidSelection)):
        try:
            write(as_json({"error": message, "hint": error.hint, **_more(error)}))
        except OutputError as broken:
            tell("", str(broken), broken.hint)
    shown = [str(each) for each in refusals if str(each) != message]
    lines = [message, *shown[:_MOST]]
    if len(shown) > _MOST:
        lines.append(f"and {len(shown) - _MOST} more")
    usage = isinstance(error, InvalidSelection)
    tell("", "\n  ".join(lines), error.hint or ("`anyport --help` shows what can be asked" if usage else ""))
    return USAGE if usage else NOTHING_THERE if isinstance(error, TimedOut) else status


def _more(error: AnyportError) -> "dict[str, object]":
    if isinstance(error, TimedOut):
        return {"occupants": [occupant_facts(each) for each in error.occupants]}
    return {"refusals": [_facts(each) for each in error.refusals] if isinstance(error, NoUnusedPort) else []}


def check() -> None:
    """Raise OutputError if standard output is closed: nothing must be given out that nobody can read.

    A descriptor that is opened later could take its number, and be written to instead.
    """
    if sys.stdout is None:
        raise OutputError("standard output is closed", hint="redirect it to /dev/null if nobody wants it")


def write(text: str) -> None:
    """Write all of the text to standard output; raise OutputError if that is not possible."""
    data = text.encode(errors="backslashreplace")  # a file name, and an interface's, may be any bytes
    try:
        while data:
            data = data[os.write(1, data) :]
    except OSError as error:
        is_pipe = error.errno == EPIPE
        hint = "the program that reads it has ended" if is_pipe else "write to another file"
        raise (BrokenPipe if is_pipe else OutputError)(
            f"can't write to standard output: {error.strerror} (errno {error.errno})", hint=hint
        ) from None


def write_until_closed(text: str) -> None:
    """Write something to look at to standard output; whoever reads it may stop at any line, as `head` does."""
    try:
        write(text)
    except BrokenPipe:
        return


def written(
    answer: "Answer | Served",
    labels: "tuple[str, ...]" = (),
    variables: "tuple[str, ...]" = (),
    *,
    json: bool = False,
    **more: object,
) -> str:
    """Return the answer as JSON (with `more`), as lines for eval if there are variables, or as plain lines."""
    if json:
        return as_json({**as_facts(answer, labels), **more})
    if variables:
        return shell_lines(variables, answer.ports)
    return "".join(f"{port}\n" for port in answer.ports)


def shell_lines(variables: "Sequence[str]", ports: "Sequence[int]") -> str:
    """Return lines for a shell to eval; letters, digits and _ need no quotes, so other readers of such files agree."""
    return "".join(f"{name}={port}\n" for name, port in zip(variables, ports, strict=True))


class ShellLines:
    """Write an answer as variables; `printed` are their names if standard output gets the lines, too."""

    def __init__(self, selection: "Selection", *, shell: bool, file: "str | None", json: bool) -> None:
        if shell and json:
            raise InvalidSelection("--shell and --json can't be used together", hint="--shell-file goes with both")
        self._file = file
        self._variables: tuple[str, ...] = ()
        if shell or file is not None:
            self._variables = _variables(selection, "--shell" if shell else "--shell-file")
        self.printed = self._variables if shell else ()

    def check(self) -> None:
        """Raise AnyportError if the file can't be written, before a port is given out that nobody would learn."""
        if self._file is not None:
            from anyport._files import check_place

            check_place(self._file, _SHELL_FILE)

    def write_file(self, ports: "Sequence[int]") -> None:
        """Write the file, if there is to be one."""
        if self._file is not None:
            from anyport._files import write_whole

            write_whole(self._file, shell_lines(self._variables, ports), _SHELL_FILE, "name another one")


def _variables(selection: "Selection", option: str) -> "tuple[str, ...]":
    from anyport._find.selection import variable

    if not selection.labels and selection.count > 1:
        raise InvalidSelection(
            f"{option} has no names for {selection.count} ports", hint="give each a label: --as web --as db"
        )
    return tuple(map(variable, selection.labels)) or ("PORT",)


def as_facts(answer: "Answer | Served", labels: "tuple[str, ...]") -> "dict[str, object]":
    facts: dict[str, object] = {"port": answer.ports[0]} if len(answer.ports) == 1 else {"ports": answer.ports}
    if labels:
        facts["labels"] = dict(zip(labels, answer.ports, strict=True))
    facts["hosts"] = answer.hosts
    facts["protocols"] = answer.protocols
    if answer.server:
        facts["portserver"] = answer.server
    if answer.refused:
        facts["refusals"] = [_facts(each) for each in answer.refusals()]
    return facts


def _facts(refusal: "Refusal") -> "dict[str, object]":
    return {**refusal._asdict(), "occupants": [occupant_facts(each) for each in refusal.occupants]}


def occupant_facts(occupant: "Occupant") -> "dict[str, object]":
    return {**occupant._asdict(), "processes": [process._asdict() for process in occupant.processes]}


def as_json(facts: object) -> str:
    from json import dumps

    return dumps(facts, indent=2) + "\n"
