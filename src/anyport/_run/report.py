"""Who is told what becomes of the program: standard error, the port file, a pipe to whoever started the runner.

The pipe carries one JSON object a line, each with its `event`: `told` (kind, message, hint), `started` (pid, ports,
hand_over), `ready` (content, as in the port file), `failed` (an error, see `pack_error`), `ended` (status).  `Reader`
is its other end.
"""

import os

from anyport import errors
from anyport._files import write_whole
from anyport._run.plan import PORT_FILE
from anyport.errors import AnyportError, NotReady

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from anyport._find.found import Answer
    from anyport._occupant import Refusal
    from anyport.errors import Tell

    Write = Callable[[Answer, tuple[str, ...], int], str]


class Report:
    """Tell by `tell`, or over the pipe, if there is one, until the program is ready: nobody reads it afterwards.

    The port file, if there is to be one, gets what `write` makes of the answer, its labels and the program's pid.
    """

    def __init__(
        self, tell: "Tell", *, pipe: "int | None" = None, write: "Write | None" = None,
        port_file: "str | None" = None, verbose: bool = False,
    ) -> None:  # fmt: skip
        self._tell = tell
        self._write = write
        self.pipe = pipe
        self._port_file = port_file
        self._verbose = verbose
        self._answer: tuple[Answer, tuple[str, ...]] | None = None
        self._ports: Sequence[int] = ()
        self._pid = 0

    def found(self, answer: "Answer", labels: "tuple[str, ...]") -> None:
        """Take note of the ports that the program will have."""
        self._answer = answer, labels

    def tell(self, kind: str, message: str, hint: str) -> None:
        """Tell a note or a warning to whoever started the runner."""
        if not self._send("told", kind=kind, message=message, hint=hint):
            self._tell(kind, message, hint)

    def started(self, pid: int, ports: "Sequence[int]", hand_over: str) -> None:
        """Report that the program was started, as this process and with these ports."""
        self._ports, self._pid = ports, pid
        self._send("started", pid=pid, ports=list(ports), hand_over=hand_over)

    def ready(self) -> bool:
        """Say that the program has its ports; return False if the one who waits for that is gone."""
        content = self._write(*self._answer, self._pid) if self._write and self._answer else ""
        if self._port_file is not None:
            hint = "the program was stopped: nobody would have learned its port"
            write_whole(self._port_file, content, PORT_FILE, hint)
        if self._verbose:
            self._tell("note", f"the program listens on {', '.join(map(str, self._ports))}", "")
        reached = self._send("ready", content=content) or self.pipe is None
        self.close()
        return reached

    def never_ready(self, status: int) -> None:
        """Say that the program ended well and never had its ports, to whoever wants to be told when it has them."""
        if self._verbose:
            ports = ", ".join(map(str, self._ports))
            self._tell("note", f"the program ended with status {status} and never listened on {ports}", "")

    def failed(self, error: AnyportError) -> bool:
        """Report an error; return whether somebody was there to be told."""
        return self._send("failed", **pack_error(error))

    def ended(self, status: int) -> None:
        """Report that the program ended with this status, negative for a signal."""
        self._send("ended", status=status)

    def close(self) -> None:
        """Close the pipe, if there is one: nothing more will be reported."""
        if self.pipe is not None:
            os.close(self.pipe)
            self.pipe = None

    def _send(self, event: str, **facts: object) -> bool:
        if self.pipe is None:
            return False
        from json import dumps

        data = dumps({"event": event, **facts}).encode() + b"\n"
        try:
            while data:
                data = data[os.write(self.pipe, data) :]
        except BrokenPipeError:
            return False
        return True


class Reader:
    """Read the pipe's other end, for whoever started the runner, until the program is ready.

    `pid`, `ports` and `hand_over` are those of the last start, `content` is what the port file has.
    """

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        self.pid = 0
        self.ports: list[int] = []
        self.hand_over = self.content = ""

    def until_ready(self, tell: "Tell", hint: str = "its output says why") -> None:
        """Read until the program is ready; raise why it will never be: NotReady with this hint, if it ended."""
        status: int | None = None
        for event in events(self._pipe):
            kind = event["event"]
            if kind == "told":
                tell(event["kind"], event["message"], event["hint"])
            elif kind == "started":
                self.pid, self.ports, self.hand_over = event["pid"], event["ports"], event["hand_over"]
            elif kind == "ready":
                self.content = event["content"]
                return
            elif kind == "failed":
                raise unpack_error(event)
            else:
                status = event["status"]
        raise ended_early(self.ports, status, hint)


def ended_early(ports: "list[int]", status: "int | None", hint: str) -> NotReady:
    """Return the error for a program that ended and never had its port."""
    from anyport._find.remarks import some

    if status is None:
        return NotReady("the runner of the program was killed", hint="the system's log may say why (out of memory?)")
    how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
    if status == 0:
        hint = "it may have left its work to another process that was there already (ssh to a ControlMaster, docker)"
    return NotReady(f"the program {how} before it listened on {some(ports)}", hint=hint, status=status)


def events(pipe: int) -> "Iterator[dict[str, Any]]":
    """Yield what the runner reports, until it has nothing more to say; the descriptor is closed then."""
    from json import loads

    with open(pipe, encoding="utf-8") as lines:
        for line in lines:
            if line.endswith("\n"):  # else it was killed while it wrote
                yield loads(line)


def pack_error(error: AnyportError) -> "dict[str, object]":
    """Return an error as what JSON can carry."""
    facts = {name: getattr(error, name) for name in error.facts}
    return {"error": type(error).__name__, "message": str(error), "facts": facts}


def unpack_error(report: "dict[str, Any]") -> AnyportError:
    """Return the error that was packed; an AnyportError if we do not have its class."""
    kind: type[AnyportError] = getattr(errors, report["error"], AnyportError)
    error: AnyportError = kind(report["message"])
    facts = report["facts"]
    if "refusals" in facts:
        facts["refusals"] = list(map(_refusal, facts["refusals"]))
    for name, value in facts.items():
        setattr(error, name, value)
    return error


def _refusal(facts: "list[Any]") -> "Refusal":
    from anyport._occupant import Occupant, Process, Refusal

    def process(pid: int, name: str, command: "list[str]") -> Process:
        return Process(pid, name, tuple(command))

    occupants = tuple(Occupant._make((*each[:-1], tuple(process(*one) for one in each[-1]))) for each in facts[-1])
    return Refusal._make((*facts[:-1], occupants))
