"""run: start a program on held ports, and have it back as an object when it is ready."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress

from anyport._find.find import warn
from anyport._find.selection import Selection
from anyport._hold.hold import BornOfFunction
from anyport._linux.proc import stat
from anyport._run.plan import AUTO, READY_TIMEOUT, RETRIES, Plan, ports_for
from anyport._run.report import Reader
from anyport._run.template import Template
from anyport.errors import InvalidSelection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType
    from typing import IO, Any, Self, Unpack

    from anyport._find.selection import ManyWords

    Stream = int | IO[Any] | None

_PACKAGES = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_COMMAND = "import sys; sys.path.append(sys.argv.pop(1)); from anyport.__main__ import main; main()"
_GRACE = 10.0  # seconds that a program may take to end after SIGTERM, before it is killed


class Running(metaclass=BornOfFunction):
    """A program that has its port; made by `anyport.run`, ended by `terminate` or the end of a `with` block.

    Between them stands a runner, a process of its own that holds the port and passes signals on.  When the process
    that called `anyport.run` ends, however it does, the program is ended too, unless it was detached.  A process that
    was forked from the caller meanwhile can't wait for the program, and its copy of this object ends nothing.

    Attributes: `ports` (list of int, in the order of the labels), `pid` (of the program, not of the runner),
    `hand_over` (`"supervised"`, `"shared"`, `"inherited"` or `"released"`), and as `subprocess.Popen` has them, where
    PIPE was asked for, `stdin`, `stdout` and `stderr`.
    """

    def __init__(self, runner: "subprocess.Popen[bytes]", pid: int, ports: "list[int]", hand_over: str) -> None:
        self.pid = pid
        self.ports = ports
        self.hand_over = hand_over
        self.stdin, self.stdout, self.stderr = runner.stdin, runner.stdout, runner.stderr
        self._runner = runner
        self._owner = os.getpid()

    @property
    def port(self) -> int:
        """The number, or the first of several."""
        return self.ports[0]

    @property
    def returncode(self) -> "int | None":
        """The program's exit status, negative for a signal that ended it; None as long as it runs."""
        return self._runner.poll() if os.getpid() == self._owner else None

    def wait(self, timeout: "float | None" = None) -> int:
        """Wait for the program's end; its exit status.

        Args:
            timeout: seconds, after which `subprocess.TimeoutExpired` is raised (default: no limit).
        """
        return self._runner.wait(timeout)

    def terminate(self) -> None:
        """Send the program SIGTERM, and don't wait; nothing if it has ended."""
        if os.getpid() == self._owner:
            self._runner.terminate()

    def __enter__(self) -> "Self":
        return self

    def __exit__(
        self, kind: "type[BaseException] | None", error: "BaseException | None", trace: "TracebackType | None"
    ) -> None:
        if os.getpid() == self._owner:
            _end(self._runner, self.pid)

    def __repr__(self) -> str:
        return f"<Running pid {self.pid} on {', '.join(map(str, self.ports))}>"


def _end(runner: "subprocess.Popen[bytes]", pid: int = 0) -> None:
    """End the program, at first by asking; its runner ends with it, or is killed too."""
    runner.terminate()
    runner.send_signal(signal.SIGCONT)  # which it passes on: a program that is stopped would not hear the other
    try:
        runner.wait(_GRACE)
    except subprocess.TimeoutExpired:
        if pid:
            _kill(pid, runner.pid)
        runner.kill()
        runner.wait()
    for stream in (runner.stdin, runner.stdout, runner.stderr):
        if stream:
            stream.close()


def _kill(program: int, runner: int) -> None:
    """Kill the program, unless it has ended, and its number may be another process's."""
    with suppress(OSError):  # it has ended, is another user's, or there are no pidfds: its runner is killed anyway
        fd = os.pidfd_open(program)
        try:
            found = stat(program)
            if found and found.parent == runner:
                signal.pidfd_send_signal(fd, signal.SIGKILL)
        finally:
            os.close(fd)


def run(  # noqa: PLR0913 - the words of the command
    command: "Sequence[str]",
    *,
    count: "int | None" = None,
    port: "int | Iterable[int] | None" = None,
    hand_over: str = AUTO,
    map_: "int | Iterable[int] | Mapping[int, str] | None" = None,
    variables: "Mapping[str, str] | None" = None,
    retries: int = RETRIES,
    ready_timeout: "float | str" = READY_TIMEOUT,
    detach: bool = False,
    cwd: "str | os.PathLike[str] | None" = None,
    env: "Mapping[str, str] | None" = None,
    stdin: "Stream" = None,
    stdout: "Stream" = None,
    stderr: "Stream" = None,
    process_group: "int | None" = None,
    **words: "Unpack[ManyWords]",
) -> Running:
    """Start a program on an unused port that is held for it, and return when it is ready: it listens on the port.

    While it runs the kernel gives the port to nobody, and no other program can bind it, but in the microseconds in
    which this one is let in.  Where it can't be supervised (`hand_over` says how it was) one that sets SO_REUSEADDR
    can, until this one listens.  Being ready says nothing of what the program answers.  It blocks: from asyncio,
    `await asyncio.to_thread(anyport.run, command)`.

    Args:
        command: the program and its arguments; `{port}`, `{host}`, `{address}`, `{fd}` and `{label}` are filled in.
        count, port: how many ports, and numbers to try first, as for `find_many`.
        hand_over: `"auto"`, `"supervised"`, `"shared"`, `"inherited"` or `"released"`.
        map_: the program's own number, or several, each with the label of the port for which it stands (a mapping) or
            in the order of the ports.
        variables: more variables for the program, in which placeholders are filled in too; PORT is always set.
        retries: how often it is started again when it loses its port.
        ready_timeout: seconds, or a text such as `"2m"`, in which it must listen; then it is stopped.
        detach: it goes on when the caller ends, in a session of its own.
        cwd, env, stdin, stdout, stderr, process_group: as for `subprocess.Popen`; the default is the caller's.
        words: the others of `find_many`, from `only` to `strict`.

    Raises:
        InvalidSelection, ProgramNotFound, ProgramNotExecutable: before anything is started.
        NoUnusedPort, AddressUnavailable, ResourceLimit: as `find` does.
        HandOverUnavailable: the port can't be handed over in this way.
        NotReady: the program ended, or did not listen in time and was stopped.

    Warns:
        AnyportWarning: as `find` does.
    """
    own = _own(map_)
    count = ports_for(own, count, words.get("as_"))
    selection = Selection(port, count=count, **words)
    words_ = [*command, *(variables or {}).values()]
    if isinstance(command, str) or not all(isinstance(word, str) and "\0" not in word for word in words_):
        raise InvalidSelection(
            f"{command!r} is no list of a program and its arguments",
            hint='anyport.run(["redis-server", "--port", "{port}"])',
        )
    arguments = list(command)
    if cwd is None and env is None:  # else its file is looked for where it is started
        Plan(
            selection, Template(arguments, variables or {}, selection.labels), hand_over=hand_over, retries=retries,
            ready_timeout=ready_timeout, own=own,
        )  # fmt: skip
    options = _as_options({**words, "n": count, "port": port, "hand_over": hand_over, "retries": retries, "map": own})
    options += [
        f"--ready-timeout={ready_timeout}",
        *(f"--env={name}={text}" for name, text in (variables or {}).items()),
    ]
    pipe, report = os.pipe()
    report_to = f"--report-to={report},{0 if detach else os.getpid()}"
    try:
        runner = subprocess.Popen(  # noqa: S603
            [sys.executable, "-P", "-c", _COMMAND, _PACKAGES, "run", report_to, *options, "--", *arguments],
            pass_fds=[report], cwd=cwd, env=env, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=detach,
            process_group=None if detach else process_group,  # the leader of a session leads its group already
        )  # fmt: skip
    except BaseException:
        os.close(pipe)
        raise
    finally:
        os.close(report)
    return _when_ready(runner, pipe)


def _own(given: "int | Iterable[int] | Mapping[int, str] | None") -> "list[str]":
    """The program's own numbers as the command has them."""
    if given is None:
        return []
    if isinstance(given, Mapping):
        return [f"{port}={given[port]}" for port in given]
    return list(map(str, _each(given)))


def _as_options(words: "Mapping[str, object]") -> "list[str]":
    """The words of the library as options of the command."""
    options: list[str] = []
    for name, value in words.items():
        option = "-n" if name == "n" else "--" + name.strip("_").replace("_", "-")
        if value is True:
            options.append(option)
        elif value is None or value is False:
            continue
        elif name in ("in_", "exclude") and not isinstance(value, str):
            options.append(f"{option}={','.join(map(str, _each(value)))}")
        elif name == "n":
            options.append(f"{option}{value}")
        else:
            options += [f"{option}={each}" for each in _each(value)]
    return options


def _each(value: "Any") -> "Iterable[object]":  # noqa: ANN401 - whatever the caller gave
    return value if hasattr(value, "__iter__") and not isinstance(value, str) else (value,)


def _when_ready(runner: "subprocess.Popen[bytes]", pipe: int) -> Running:
    started = Reader(pipe)
    try:
        started.until_ready(warn)
    except BaseException:
        _end(runner, started.pid)
        raise
    running: Running = Running.made(runner, started.pid, started.ports, started.hand_over)
    return running
