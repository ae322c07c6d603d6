"""--detach: the runner goes to the background with the program, and the caller waits until the program is ready."""

import os

from anyport import _background
from anyport._linux import signal
from anyport._run.report import Reader
from anyport.errors import AnyportError, ResourceLimit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from anyport.errors import Tell


def check_log(path: str) -> None:
    """Raise AnyportError unless the log can be written; it is made if it is missing."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666))
    except OSError as error:
        raise AnyportError(
            f"the log {path} can't be written: {error.strerror} (errno {error.errno})", hint="--log FILE names another"
        ) from None


class Background:
    """Have a runner in the background, and wait for it."""

    def __init__(self, run: "Callable[[int], int]", log: str) -> None:
        """Start the runner: `run` gets the descriptor to report to, and returns the program's status."""
        pipe, report = os.pipe()
        self._reader = Reader(pipe)
        self._log = log
        try:
            self._pid = os.fork()
        except OSError as error:
            raise ResourceLimit.of(error, "no process for the background") from None
        if not self._pid:
            os.close(pipe)
            _run(run, report, log)
        os.close(report)

    def wait(self, tell: "Tell") -> str:
        """Wait until the program is ready; return what to write then, or raise why it will never be."""
        where = f"its output is in {self._log}"
        if self._log == os.devnull:
            where = "start it with --log FILE, or without --detach, to see why"
        self._reader.until_ready(tell, where)
        return self._reader.content

    def stop(self) -> None:
        """Have the runner stop the program: its port can't be told to anybody."""
        os.kill(self._pid, signal.SIGTERM)


def _run(run: "Callable[[int], int]", report: int, log: str) -> "NoReturn":
    status = 125
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        _background.replace(0)
        for stream in (1, 2):
            _background.replace(stream, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        status = run(report)
    finally:
        os._exit(status & 0xFF)
