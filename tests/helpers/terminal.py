"""Programs that are watched while they run, at two pipes or on a terminal."""

import contextlib
import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from anyport._clock import pauses
from anyport._ledger import place
from anyport._linux import proc
from helpers.support import COMMAND, needs

RUN = (COMMAND, "run", "--")
PYTHON = (sys.executable, "-I", "-S", "-c")
BASH = ("bash", "--norc", "--noprofile", "--noediting", "-i")
MARK = signal.SIGRTMAX  # taken after every other that is pending, by whoever waits for signals
_LIMIT = 60.0

# Writes each signal that it gets as `pid signal:code`; a code above 0 is the kernel's.
WITNESS = """
import os, signal
signals = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}
signal.pthread_sigmask(signal.SIG_BLOCK, signals)
os.write(1, b"ready %d\\n" % os.getpid())
while True:
    info = signal.sigwaitinfo(signals)
    os.write(1, b"%d %d:%d\\n" % (os.getpid(), info.si_signo, info.si_code))
"""
witness = (*PYTHON, WITNESS)


class Started:
    """A process that was started, with the descriptors to write to it and to read what it writes."""

    def __init__(self, process: "subprocess.Popen[bytes]", write: int, read: int) -> None:
        self.pid = process.pid
        self._process = process
        self._write, self._read = write, read
        self._text = ""

    def type(self, text: str) -> None:
        os.write(self._write, text.encode())

    def end_input(self) -> None:
        """What closing a pipe means; not for a terminal."""
        os.close(self._write)
        self._write = -1

    def expect(self, pattern: str) -> "re.Match[str]":
        """Read until this was written; what came with it is gone then, what comes after it stays to be expected."""
        until = time.monotonic() + _LIMIT
        while not (found := re.search(pattern, self._text, re.MULTILINE)):
            if not self._more(until - time.monotonic()):
                pytest.fail(f"{pattern!r} was not written, but {self._text!r}")
        self._text = self._text[found.end() :]
        return found

    def number(self, pattern: str = r"^ready (\d+)\n") -> int:
        """The number that is expected."""
        return int(self.expect(pattern)[1])

    def status(self) -> int:
        """Wait for the shell's prompt: the status of what it ran last."""
        return self.number(r"^<(\d+)>\n")

    def unread(self) -> str:
        """What was written up to now and not expected."""
        while self._more(0):
            pass
        return self._text

    def rest(self) -> str:
        """What is written until nobody can write any more."""
        until = time.monotonic() + _LIMIT
        while self._more(until - time.monotonic()):
            pass
        assert time.monotonic() < until, "somebody still can"
        return self._text

    def mark(self, through: "int | None" = None) -> None:
        """Send the mark."""
        os.kill(through or self.pid, MARK)

    def signals(self, pid: int, *first: int, through: "int | None" = None) -> list[str]:
        """What the witness `pid` got, `first` at least, before a mark that is sent now, by way of `through`."""
        before = [self.expect(rf"^{pid} {number}:\d+\n")[0] for number in first]
        self.mark(through)
        until = time.monotonic() + _LIMIT
        while f"{pid} {int(MARK)}:" not in self._text:
            assert self._more(until - time.monotonic()), self._text
        lines = [line for line in ("".join(before) + self._text).splitlines() if line.startswith(f"{pid} ")]
        self._text = ""
        return [line.split()[1] for line in lines if f" {int(MARK)}:" not in line]

    def in_front(self) -> int:
        """The process group that has the terminal."""
        return os.tcgetpgrp(self._read)

    def resize(self, rows: int, columns: int) -> None:
        """Give the terminal this size."""
        fcntl.ioctl(self._write, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def hang_up(self) -> None:
        """Close the terminal."""
        os.close(self._write)
        self._write = self._read = -1

    def wait(self) -> int:
        """For the end: the exit status, negative for a signal."""
        return self._process.wait(_LIMIT)

    def died(self) -> tuple[int, int]:
        """How it ended, as waitid(2) has it: CLD_EXITED, CLD_KILLED or CLD_DUMPED, and the number."""
        for _ in pauses(_LIMIT):
            if info := os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                return info.si_code, info.si_status
        pytest.fail("it did not end")

    def close(self) -> None:
        for fd in {self._write, self._read} - {-1}:
            os.close(fd)

    def _more(self, seconds: float) -> bool:
        if not select.select([self._read], [], [], max(seconds, 0))[0]:
            return False
        try:
            data = os.read(self._read, 1 << 16)
        except OSError:  # EIO: nobody has the terminal open any more
            return False
        self._text += data.decode(errors="replace")
        return bool(data)


@contextlib.contextmanager
def started(*command: str, **options: object) -> Iterator[Started]:
    """A process at two pipes, its signals as they are by default; it and all it started end here."""
    stdin, write = os.pipe()
    read, stdout = os.pipe()
    with _started(command, (stdin, stdout, None), (write, read), options) as process:
        yield process


@contextlib.contextmanager
def on_terminal(*command: str, **variables: str) -> Iterator[Started]:
    """The leader of a session on a terminal of its own, which neither echoes nor changes what is written."""
    master, slave = os.openpty()
    modes = termios.tcgetattr(slave)
    modes[1] &= ~termios.OPOST
    modes[3] &= ~termios.ECHO
    termios.tcsetattr(slave, termios.TCSANOW, modes)
    options: dict[str, object] = {"env": {**os.environ, "TERM": "vt100", **variables}}
    with _started((needs("setsid"), "--ctty", *command), (slave, slave, slave), (master, master), options) as process:
        yield process


@contextlib.contextmanager
def shell() -> Iterator[Started]:
    """An interactive bash with job control on a terminal; `status` waits for its prompt."""
    with on_terminal(needs("bash"), *BASH[1:], PS1=r"<$?>\n", HISTFILE="") as bash:
        assert bash.status() == 0
        yield bash


@contextlib.contextmanager
def _started(
    command: tuple[str, ...], streams: tuple[int, int, int | None], ends: tuple[int, int], options: dict[str, object]
) -> Iterator[Started]:
    stdin, stdout, stderr = streams
    words = (needs("env"), "--default-signal", *command)
    try:
        process = subprocess.Popen(words, stdin=stdin, stdout=stdout, stderr=stderr, **options)  # type: ignore[call-overload]
    finally:
        for fd in {stdin, stdout}:
            os.close(fd)
    watched = Started(process, *ends)
    try:
        yield watched
    finally:
        for pid in ours():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        until(lambda: not ours(), "the end of all that was started")
        watched.close()


def both(*command: str, **options: object) -> tuple["subprocess.CompletedProcess[str]", ...]:
    """The program run directly, and by the runner."""
    env = needs("env")
    return tuple(
        subprocess.run(  # type: ignore[call-overload]
            [env, "--default-signal", *before, *command], capture_output=True, text=True, timeout=60, check=False,
            **{"stdin": subprocess.DEVNULL, **options},
        )
        for before in ((), RUN)
    )  # fmt: skip


def ours() -> set[int]:
    """The living processes that this test started, and theirs: they have its ledger in their environment."""
    mark = f"{place.VARIABLE}={os.environ[place.VARIABLE]}\0".encode()
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (folder / "environ").read_bytes():
                found.add(int(folder.name))
    return found - {os.getpid()}


def until(condition: Callable[[], object], what: str) -> None:
    """Wait for something that nobody tells."""
    for _ in pauses(_LIMIT):
        if condition():
            return
    pytest.fail(f"waited in vain for {what}")


def state(pid: int) -> str:
    """As ps(1) has it: T for stopped; nothing if there is no such process."""
    found = proc.stat(pid)
    return found.state if found else ""


def status_lines(pid: int, *names: str) -> list[str]:
    """These fields of proc_pid_status(5)."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return [lines[name].strip() for name in names]
