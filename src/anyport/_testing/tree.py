"""What a test's program has started: a server behind a shell, or behind `npm run`, that it does not end itself."""

import os
from contextlib import suppress
from signal import SIGKILL, SIGTERM, Signals, pidfd_send_signal

from anyport._clock import pauses
from anyport._linux import pidfd, proc
from anyport._who.table import WITHOUT_PEER, rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Self

_GRACE = 10.0  # seconds that they may take to end after SIGTERM, before they are killed
_LINGER = 1.0  # seconds that what held a port for them may take to see their end


class Tree:
    """The processes of a program's run; those that outlive the `with` block are ended, at first by asking.

    Each is known by a descriptor (pidfd_open(2)): one that has its pid afterwards is left alone.  Daemons are among
    them, for the runner is a subreaper, unless the program itself has ended before.  When they had to be ended, the
    block is left when nobody has these ports any more: what stayed behind to hold them for a daemon sees its end later
    (at most a second: another protocol's socket may have the same number).
    """

    def __init__(self, program: int, ports: "Sequence[int]") -> None:
        self._ports = [range(port, port + 1) for port in ports]
        self._fds: list[int] = []
        runner = _runner_of(program)
        if not runner:
            return
        with suppress(OSError):  # this sandbox has no pidfds, and they are not ended for that
            self._fds = pidfd.descendants(runner)

    def __enter__(self) -> "Self":
        return self

    def __exit__(
        self, kind: "type[BaseException] | None", error: "BaseException | None", trace: "TracebackType | None"
    ) -> None:
        try:
            if not self._have_ended():
                self._signal(SIGTERM)
                if not _comes(self._have_ended, _GRACE):
                    self._signal(SIGKILL)
                    _comes(self._have_ended, _GRACE)
                _comes(self._are_free, _LINGER)
        finally:
            while self._fds:
                os.close(self._fds.pop())

    def _have_ended(self) -> bool:
        return all(map(pidfd.has_ended, self._fds))

    def _signal(self, number: Signals) -> None:
        for fd in self._fds:
            with suppress(ProcessLookupError, PermissionError):  # it has ended, or become another user
                pidfd_send_signal(fd, number)

    def _are_free(self) -> bool:
        return not any(rows(protocol, self._ports, WITHOUT_PEER) for protocol in ("tcp", "udp"))


def _comes(is_so: "Callable[[], bool]", limit: float) -> bool:
    return any(is_so() for _ in pauses(limit))


def _runner_of(program: int) -> int:
    """Return the runner that we have started for it, or 0 if it has ended."""
    found = proc.stat(program)
    runner = found and proc.stat(found.parent)
    return found.parent if found and runner and runner.parent == os.getpid() else 0
