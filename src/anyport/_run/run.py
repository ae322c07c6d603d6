"""run: start a program on held ports, and have it back as an object when it is ready."""

import _socket
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress

from anyport._find.find import warn
from anyport._find.selection import Selection
from anyport._hold.hold import no_constructor
from anyport._linux.proc import stat
from anyport._ports import items, parse_ports
from anyport._run.order import FROM_LIBRARY, pack, plan_of
from anyport._run.plan import AUTO, READY_TIMEOUT, RETRIES, ports_for
from anyport._run.report import Reader
from anyport._run.template import checked_variables
from anyport.errors import InvalidSelection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import IO, Any, Self, Unpack

    from anyport._find.selection import ManyOptions

    Stream = int | IO[Any] | None

_PACKAGES = os.path.abspath(f"{__file__}/../../..")  # where the package lies, for sys.path
_COMMAND = "import sys; sys.path.append(sys.argv.pop(1)); from anyport.__main__ import main; main()"
_GRACE = 10.0  # seconds that a program may take to end after SIGTERM, before it is killed


class Running:
    """A program that has its port: made by `anyport.run`, ended by `terminate` or the end of a `with` block.

    Between them stands a runner, a process of its own that holds the port and passes signals on.  When the process
    that called `anyport.run` ends, however it does, the program is ended too, unless it was detached.  A process that
    was forked from the caller meanwhile can't wait for the program, and its copy of this object ends nothing.

    Attributes: `ports` (list of int, in the order of the labels), `pid` (of the program, not of the runner),
    `hand_over` (`"supervised"`, `"shared"`, `"inherited"` or `"released"`), and as `subprocess.Popen` has them, where
    PIPE was asked for, `stdin`, `stdout` and `stderr`.
    """

    pid: int
    ports: "list[int]"
    hand_over: str
    stdin: "IO[bytes] | None"
    stdout: "IO[bytes] | None"
    stderr: "IO[bytes] | None"
    _runner: "subprocess.Popen[bytes]"
    _owner: int

    def __init__(self, *_args: object, **_kwargs: object) -> None:
        raise no_constructor(type(self))

    @classmethod
    def made(cls, runner: "subprocess.Popen[bytes]", pid: int, ports: "list[int]", hand_over: str) -> "Self":
        """Return the program of this runner; `anyport.run` starts both."""
        self = cls.__new__(cls)
        self.pid = pid
        self.ports = ports
        self.hand_over = hand_over
        self.stdin, self.stdout, self.stderr = runner.stdin, runner.stdout, runner.stderr
        self._runner = runner
        self._owner = os.getpid()
        return self

    @property
    def port(self) -> int:
        """Return the number of the port, or of the first of several."""
        return self.ports[0]

    @property
    def returncode(self) -> "int | None":
        """Return the program's exit status, negative for a signal that ended it; None as long as it runs."""
        return self._runner.poll() if os.getpid() == self._owner else None

    def wait(self, timeout: "float | None" = None) -> int:
        """Wait for the program's end, and return its exit status.

        Args:
            timeout: seconds, after which `subprocess.TimeoutExpired` is raised (default: no limit).
        """
        return self._runner.wait(timeout)

    def terminate(self) -> None:
        """Send the program SIGTERM, unless it has ended, and don't wait."""
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


def run(  # noqa: PLR0913 - the options of the command
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
    **options: "Unpack[ManyOptions]",
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
        options: the others of `find_many`, from `only` to `strict`.

    Raises:
        InvalidSelection, ProgramNotFound, ProgramNotExecutable: before anything is started.
        NoUnusedPort, AddressUnavailable, ResourceLimit: as `find` does.
        HandOverUnavailable: the port can't be handed over in this way.
        NotReady: the program ended, or did not listen in time and was stopped.

    Warns:
        AnyportWarning: as `find` does.
    """
    own = _own(map_)
    count = ports_for(own, count, options.get("as_"))
    chosen = {name: _plain(name, value) for name, value in {**options, "port": port, "count": count}.items()}
    Selection(**chosen)  # whatever is wrong with it is told before anything is started
    arguments = _arguments(command)
    plan = {"hand_over": hand_over, "retries": retries, "ready_timeout": ready_timeout, "own": own}
    order = {
        "selection": chosen,
        "plan": {**plan, "environment": None if env is None else checked_variables(env)},
        "variables": checked_variables(variables or {}),
        "caller": 0 if detach else os.getpid(),
    }
    if cwd is None:  # else its file is looked for where it is started
        plan_of(order, arguments)

    def start(word: str, fds: "Sequence[int]") -> "subprocess.Popen[bytes]":
        return subprocess.Popen(  # noqa: S603
            [sys.executable, "-I", "-c", _COMMAND, _PACKAGES, "run", word, "--", *arguments],
            pass_fds=fds, cwd=cwd, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=detach,
            process_group=None if detach else process_group,  # the leader of a session leads its group already
        )  # fmt: skip

    return _when_ready(*_ordered(start, pack(order)))


def _ordered(
    start: "Callable[[str, Sequence[int]], subprocess.Popen[bytes]]", order: bytes
) -> "tuple[subprocess.Popen[bytes], int]":
    """Have a runner started and send it its order; return it, and the pipe to which it reports.

    `start` gets the argument that tells the runner of these descriptors, and the descriptors.
    """
    pipe, report = os.pipe()
    ours, theirs = _socket.socketpair()
    try:
        for each in (ours, theirs):
            each.setblocking(True)  # noqa: FBT003 - whatever socket.setdefaulttimeout() was told
        runner = start(f"{FROM_LIBRARY}{theirs.fileno()},{report}", (theirs.fileno(), report))
        theirs.close()
        _send(ours, order, runner)
    except BaseException:
        os.close(pipe)
        raise
    finally:
        os.close(report)
        theirs.close()
        ours.close()
    return runner, pipe


def _send(ours: "_socket.socket", order: bytes, runner: "subprocess.Popen[bytes]") -> None:
    """Send a runner its order; one that has ended is left to whoever reads what it reports."""
    try:
        ours.sendall(order, _socket.MSG_NOSIGNAL)
    except ConnectionError:
        return
    except BaseException:
        _end(runner)
        raise


def _arguments(command: "Sequence[str]") -> "list[str]":
    """Return the program and its arguments; InvalidSelection for what is no sequence of texts."""
    is_list = not isinstance(command, (str, bytes)) and hasattr(command, "__len__") and hasattr(command, "__iter__")
    if not is_list or not all(isinstance(each, str) and "\0" not in each for each in command):
        raise InvalidSelection(
            f"{command!r} is no list of a program and its arguments",
            hint='anyport.run(["redis-server", "--port", "{port}"])',
        )
    return list(command)


def _own(given: "int | Iterable[int] | Mapping[int, str] | None") -> "list[str]":
    """Return the program's own numbers, as texts such as the command takes: `8080`, or `8080=web`."""
    if given is None:
        return []
    if isinstance(given, Mapping):
        return [f"{port}={given[port]}" for port in given]
    if isinstance(given, Iterable) and not isinstance(given, str):
        return list(map(str, items(given, "list of the program's own numbers", hint="map_=[8080, 8443]")))
    return [str(given)]


def _plain(name: str, value: "Any") -> "Any":  # noqa: ANN401 - whatever the caller gave
    """Return what JSON can carry, and what can be gone through more than once."""
    if name in ("in_", "exclude") and isinstance(value, range) and value.step == 1:
        return str(parse_ports(value))  # else each of its numbers would be named by itself
    if not hasattr(value, "__iter__") or isinstance(value, (str, bytes)):
        return value
    return items(value, "list", hint="a range, a list or a text such as 7002-7011,8000")


def _when_ready(runner: "subprocess.Popen[bytes]", pipe: int) -> Running:
    started = Reader(pipe)
    try:
        started.until_ready(warn)
    except BaseException:
        _end(runner, started.pid)
        raise
    return Running.made(runner, started.pid, started.ports, started.hand_over)
