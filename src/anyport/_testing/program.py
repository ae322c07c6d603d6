"""A program that tests use, and what it wrote since the present test began, for the report of one that fails.

It writes to a file without a name, standard output and error in the order in which they are written.  The file's offset
is the program's too: here it is read by `pread`, and never moved.
"""

import os
from fcntl import F_GETFL, F_SETFL, fcntl
from subprocess import DEVNULL
from tempfile import TemporaryFile

from anyport._run.run import run
from anyport._testing.tree import Tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from typing import Any

    from anyport._run.run import Running

_SHOWN = 32_768  # bytes that a report has at most
_LONGEST_NAME = 60  # characters of the command above them


class Program:
    """A program that lives as long as the scope of `fixture`, by whose function it was started."""

    def __init__(self, command: "Sequence[str]", fixture: "str | None") -> None:
        self._command = command
        self._fixture = fixture
        self._file = TemporaryFile(buffering=0)  # noqa: SIM115 - closed by stop()
        self._begin = 0  # where in the file the present test began
        self._began_before = False
        self._running: Running | None = None
        self._status: int | None = None
        self._last = ""

    def start(self, options: "dict[str, Any]") -> "Running":
        # O_APPEND, because programs open /dev/stderr anew, and what comes by the old descriptor belongs behind that.
        fcntl(self._file, F_SETFL, fcntl(self._file, F_GETFL) | os.O_APPEND)
        # A group of its own: some programs end theirs by kill(0, SIGTERM) when they are stopped (ncat 7.99, scripts).
        defaults: dict[str, Any] = {"stdin": DEVNULL, "stdout": self._file, "stderr": self._file, "process_group": 0}
        self._running = run(self._command, **{**defaults, **options})
        return self._running

    def stop(self) -> None:
        """Stop it, and keep what the report of this test's teardown may need."""
        self._look_for_end()
        try:
            if self._running:
                with Tree(self._running.pid, self._running.ports), self._running:
                    pass
        finally:
            self._last = self._written()
            self._file.close()

    @property
    def is_over(self) -> bool:
        """Tell whether it was stopped."""
        return self._file.closed

    def begin_test(self) -> None:
        """Forget what was written for earlier tests; but why a program was never ready is news to each of its tests."""
        self._began_before = True
        if self._running:
            self._begin = os.fstat(self._file.fileno()).st_size

    def is_to_be_shown(self, fixtures: "Collection[str]") -> bool:
        """Tell whether a test that uses these fixtures shows it: if it ended by itself, or wrote something."""
        self._look_for_end()
        is_of_test = not self._began_before or self._fixture in fixtures
        return is_of_test and (self._status is not None or bool(self._written()))

    def section(self) -> "tuple[str, str]":
        """Return the title and the text of its section in a report."""
        words = " ".join(" ".join(self._command).split())  # a title is one line
        name = words if len(words) <= _LONGEST_NAME else words[: _LONGEST_NAME - 3] + "..."
        where = f"port {', '.join(map(str, self._running.ports))}" if self._running else "never ready"
        status = "" if self._status is None else f", ended with status {self._status}"
        return f"Captured output of {name} ({where}{status})", self._written() or "[it wrote nothing]"

    def _look_for_end(self) -> None:
        """Learn its status if it ended by itself, not because it was stopped."""
        if self._running and not self.is_over:
            self._status = self._running.returncode

    def _written(self) -> str:
        if self.is_over:
            return self._last
        size = os.fstat(self._file.fileno()).st_size
        begin = self._begin if self._begin <= size else 0  # a shell's `>/dev/stderr` cuts the file to nothing
        start = max(begin, size - _SHOWN)
        data = os.pread(self._file.fileno(), _SHOWN, start)
        if start > begin:  # from the next whole line on, if there is one
            cut = data.find(b"\n") + 1
            start, data = start + cut, data[cut:]
        text = data.decode(errors="backslashreplace")
        if start == begin:
            return text
        return (
            f"[{start - begin:,} bytes before this are left out; "
            f"give run_on_port a file as stdout and stderr to have them all]\n{text}"
        )
