"""--detach: the runner goes to the background with the program, and the caller waits until the program is ready."""

import os

from anyport import _streams
from anyport._linux import signal
from anyport._run.report import events, unpack_error
from anyport.errors import AnyportError, NotReady, ResourceLimit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from anyport._messages import Tell


def check_log(path: str) -> None:
    """Raise AnyportError unless the log can be written; it is made if it is missing."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666))
    except OSError as error:
        raise AnyportError(
            f"the log {path} can't be written: {error.strerror} (errno {error.errno})", hint="--log FILE names another"
        ) from None


class Background:
    """A runner in the background, as its caller sees it: `ports` once the program was started."""

    def __init__(self, run: "Callable[[int], int]", log: str) -> None:
        """Start it: `run` gets the descriptor to report to, and returns the program's status."""
        self._pipe, report = os.pipe()
        self._log = log
        self.ports: list[int] = []
        try:
            self._pid = os.fork()
        except OSError as error:
            raise ResourceLimit.of(error, "no process for the background") from None
        if not self._pid:
            os.close(self._pipe)
            _run(run, report, log)
        os.close(report)

    def wait(self, tell: "Tell") -> str:
        """Until the program is ready; what to write then.  NotReady, or why else it will never be."""
        status: int | None = None
        for event in events(self._pipe):
            kind = event["event"]
            if kind == "told":
                tell(event["kind"], event["message"], event["hint"])
            elif kind == "started":
                self.ports = event["ports"]
            elif kind == "ready":
                return str(event["content"])
            elif kind == "failed":
                raise unpack_error(event)
            else:
                status = event["status"]
        where = f"its output is in {self._log}"
        if self._log == os.devnull:
            where = "start it with --log FILE, or without --detach, to see why"
        raise ended_early(self.ports, status, where)

    def stop(self) -> None:
        """Have the runner stop the program: its port can't be told to anybody."""
        os.kill(self._pid, signal.SIGTERM)


def ended_early(ports: "list[int]", status: "int | None", hint: str = "its output says why") -> NotReady:
    """The error for a program that ended and never had its port."""
    from anyport._messages import some

    if status is None:
        return NotReady("the runner of the program was killed", hint="the system's log may say why (out of memory?)")
    how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
    if status == 0:
        hint = "it may have left its work to another process that was there already (ssh to a ControlMaster, docker)"
    return NotReady(f"the program {how} before it listened on {some(ports)}", hint=hint, status=status)


def _run(run: "Callable[[int], int]", report: int, log: str) -> "NoReturn":
    status = 125
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        _streams.replace(0)
        for stream in (1, 2):
            _streams.replace(stream, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        status = run(report)
    finally:
        os._exit(status & 0xFF)
