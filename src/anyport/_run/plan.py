"""The plan of a run: what to start, on which ports and how they are handed over, checked before anything is started."""

import os

from anyport._address import TCP
from anyport._clock import parse_duration
from anyport._files import check_place
from anyport._ports import check_port, whole_number
from anyport._run.program import find_program
from anyport._run.template import checked_variables
from anyport.errors import InvalidSelection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import TypeVar

    from anyport._find.selection import Selection
    from anyport._run.template import Template

    T = TypeVar("T")

AUTO, SUPERVISED, SHARED, INHERITED, RELEASED = "auto", "supervised", "shared", "inherited", "released"
HAND_OVERS = (AUTO, SUPERVISED, SHARED, INHERITED, RELEASED)
RETRIES = 5
READY_TIMEOUT = 30.0  # seconds, where somebody waits for readiness
PORT_FILE = "the port file"  # in messages
_MOST_RETRIES = 1000


class Plan:
    """Check what a run is to be, and keep it.

    `hand_over` is one of HAND_OVERS, `own` are the program's own numbers and the index of the port for which each
    stands, `limit` the seconds in which the program has to be ready (None: any time it likes), `is_awaited` whether
    somebody waits for that, `file` the program's file, `port_file` a path or None, `environment` what the program has
    besides the template's variables (None: what our caller has).
    """

    def __init__(  # noqa: PLR0913 - the one place where all the options of a run come together
        self,
        selection: "Selection",
        template: "Template",
        *,
        hand_over: str = AUTO,
        retries: "int | str" = RETRIES,
        ready_timeout: "float | str | None" = None,
        port_file: "str | None" = None,
        is_awaited: bool = False,
        own: "Sequence[str]" = (),
        environment: "Mapping[str, str] | None" = None,
    ) -> None:
        self.selection = selection
        self.template = template
        self.port_file = port_file
        self.is_awaited = is_awaited or port_file is not None
        self.own = _check_own(own, selection)
        self.hand_over = self._check_hand_over(hand_over)
        self.retries = _check_retries(retries)
        self.limit = READY_TIMEOUT if self.is_awaited else None
        if ready_timeout is not None:
            self.limit = _check_limit(ready_timeout)
        if not template.command:
            raise InvalidSelection("there is no command to run", hint="anyport run -- COMMAND [ARG with {port} ...]")
        if port_file is not None:
            check_place(port_file, PORT_FILE)
        self.environment = None if environment is None else checked_variables(environment)
        given = os.environ if environment is None else environment
        path = template.variables.get("PATH", given.get("PATH", os.defpath))
        self.file = find_program(template.command[0], path)

    def unseen(self) -> "list[str]":
        """Return the labels of which the program may never learn the port.

        Not that of an only port by name: there it is a part of the name (`--here --as api`), and PORT is the port.
        """
        if self.selection.base == "name" and self.selection.count == 1:
            return []
        mapped = {self.selection.labels[index] for index in self.own.values() if self.selection.labels}
        return [label for label in self.template.unseen() if label not in mapped]

    def _check_hand_over(self, hand_over: str) -> str:
        if hand_over not in HAND_OVERS:
            raise InvalidSelection(f"{hand_over!r} is no hand-over", hint=f"it is one of {', '.join(HAND_OVERS)}")
        if self.own and (hand_over not in (AUTO, SUPERVISED) or self.template.uses("fd")):
            raise InvalidSelection(
                "--map needs the supervised hand-over, and another one was asked for",
                hint="leave --hand-over and {fd} out",
            )
        if not self.template.uses("fd"):
            return hand_over
        if hand_over not in (AUTO, INHERITED):
            raise InvalidSelection(
                f"{{fd}} is a socket that the program inherits, and --hand-over {hand_over} gives it none",
                hint="leave --hand-over out, or write {port}",
            )
        return INHERITED


def ports_for(own: "Sequence[str]", count: "T | None", labels: object) -> "T | int | None":
    """Return how many ports are meant; when that is not said, one for each of the program's own numbers."""
    return len(own) if own and count is None and not labels else count


def _check_own(own: "Sequence[str]", selection: "Selection") -> "dict[int, int]":
    """Return by number the index of the port for which it stands: that of the label, or the next one."""
    found = dict[int, int]()
    for text in own:
        number, equals, label = text.partition("=")
        port = check_port(number, hint="--map 8080, or --map 8080=web for the port with that label")
        index = len(found)
        if port in found:
            raise InvalidSelection(f"--map {port} is there twice", hint="each number can stand for one port only")
        if equals:
            if label not in selection.labels:
                raise InvalidSelection(f"--map {text}: no port has the label {label!r}", hint=f"--as {label or 'web'}")
            index = selection.labels.index(label)
        elif index >= selection.count:
            raise InvalidSelection(
                f"--map {port} has no port to stand for: only {selection.count} asked for",
                hint="-n 2, or --map 8080=web",
            )
        found[port] = index
    if found and TCP not in selection.kinds:
        raise InvalidSelection("--map is for TCP ports only, and only UDP was asked for", hint="leave --map out")
    return found


def _check_retries(retries: "int | str") -> int:
    number = whole_number(retries)
    if number is None or not 0 <= number <= _MOST_RETRIES:
        raise InvalidSelection(
            f"{retries!r} is no number of retries: the limits are 0 and {_MOST_RETRIES}", hint="--retries 5"
        )
    return number


def _check_limit(limit: "float | str") -> float:
    seconds = parse_duration(limit)
    if not seconds:
        raise InvalidSelection("no program is ready within 0 s", hint="--ready-timeout 30s")
    return seconds
