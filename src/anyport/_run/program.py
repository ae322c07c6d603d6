"""Starting a program: found like a shell finds it, in a child that is as if the caller had started it itself."""

import errno
import os
from fcntl import F_DUPFD_CLOEXEC, fcntl

from anyport._hold import activation
from anyport._linux import prctl, signal
from anyport._supervise import enter
from anyport.errors import AnyportError, InvalidSelection, ProgramNotExecutable, ProgramNotFound, ResourceLimit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable, Mapping, Sequence
    from typing import NoReturn

    from anyport._run.signals import Dispositions

_NO_FORMAT = "/bin/sh"  # what execvp(3) has run a file that the kernel does not know the format of


def find_program(name: str, path: str) -> str:
    """Return the file that a command means, looked for in PATH unless it has a slash.

    Raise ProgramNotFound, or ProgramNotExecutable for a directory or a file that may not be executed.
    """
    if not name:
        raise InvalidSelection("the command is an empty text", hint="anyport run -- COMMAND [ARG ...]")
    found = [name] if "/" in name else [os.path.join(folder or ".", name) for folder in path.split(":")]
    blocked = ""
    for file in found:
        if os.path.isfile(file) and os.access(file, os.X_OK):
            return file
        if os.path.exists(file) and not blocked:
            blocked = file
    if not blocked:
        where = "there is no such file" if "/" in name else "it is not in PATH"
        hint = (
            f"--port {name} asks for that number; the command comes behind it" if name.isdecimal() else "check its name"
        )
        raise ProgramNotFound(f"{name} can't be started: {where}", hint=hint, errno=errno.ENOENT)
    raise cannot_start(blocked, IsADirectoryError(errno.EISDIR, "") if os.path.isdir(blocked) else PermissionError())


def cannot_start(file: str, error: OSError) -> AnyportError:
    """Return the error that an error of exec comes to: it says what a shell says, and has the exit status of one."""
    if isinstance(error, FileNotFoundError):
        return ProgramNotFound(
            f"{file} can't be started: the interpreter that it names is not there",
            hint="look at its first line (#!)", errno=error.errno,
        )  # fmt: skip
    if isinstance(error, IsADirectoryError):
        text, hint = "it is a directory", "name a program in it"
    elif isinstance(error, PermissionError):
        text, hint = "it may not be executed", f"chmod +x {file}, if it is a program"
    else:
        text, hint = f"{os.strerror(error.errno or 0)} (errno {error.errno})", "check the file and its arguments"
    return ProgramNotExecutable(f"{file} can't be started: {text}", hint=hint, errno=error.errno or errno.EACCES)


class Child:
    """Start a program with arguments, environment and descriptors.

    `inherited` maps descriptors to names for socket activation, `trapped` are the system calls to be supervised;
    `listener` is where they come from then, once the program was started.
    """

    def __init__(self, file: str, args: "list[str]", env: "Mapping[str, str]", *, closed: "Sequence[int]" = ()) -> None:
        self.file = file
        self.args = args
        self.env = env
        self.closed = closed  # standard streams that the caller had closed
        self.inherited: dict[int, str] = {}
        self.trapped: Sequence[str] = ()
        self.listener: int | None = None

    def start(self, before: "Dispositions", forked: "Callable[[], None]", refused: "Callable[[OSError], None]") -> int:
        """Fork and exec; return the pid, once exec has succeeded.  The program gets SIGTERM when we die.

        `forked` is called here once there is a child, which goes on to exec only then: what we close in it, the child
        still has, and its exec is the very end of it.  `refused` is called if it can't be supervised, as it should be;
        when that raises an error nothing is started.
        """
        failed, fail = os.pipe()
        ours, theirs = enter.link()
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            for fd in (failed, fail, ours.detach(), theirs.detach()):
                os.close(fd)
            raise ResourceLimit.of(error, "no process for the program") from None
        if not pid:
            ours.close()
            self._become(parent, fail, before, theirs)
        os.close(fail)
        theirs.close()
        with open(failed, "rb") as pipe:
            try:
                forked()
                self._begin(ours, pid, refused)
            except BaseException:
                ours.close()  # then it ends
                os.waitpid(pid, 0)
                raise
            ours.close()
            number = pipe.read()
        if number:
            os.waitpid(pid, 0)
            raise cannot_start(self.file, OSError(int(number), ""))
        return pid

    def _begin(self, ours: "socket", pid: int, refused: "Callable[[OSError], None]") -> None:
        if self.trapped:
            self.listener = enter.begin_supervised(ours, pid, refused)
        else:
            enter.begin_plain(ours)

    def _become(self, parent: int, fail: int, before: "Dispositions", theirs: "socket") -> "NoReturn":
        try:
            prctl.set_pdeathsig(signal.SIGTERM)
            if os.getppid() != parent:
                os._exit(128 + signal.SIGTERM)
            enter.enter(theirs, self.trapped, self.file)
            env = dict(self.env)
            if self.inherited:
                fail = fcntl(fail, F_DUPFD_CLOEXEC, activation.FIRST + len(self.inherited))
                activation.arrange(list(self.inherited))
                env.update(activation.variables(list(self.inherited.values())))
            for stream in self.closed:
                os.close(stream)
            before.restore()
            self._exec(env)
        except (OSError, ValueError) as error:  # ValueError: an argument with a NUL
            os.write(fail, b"%d" % (getattr(error, "errno", 0) or errno.EINVAL))
        finally:
            os._exit(127)

    def _exec(self, env: "Mapping[str, str]") -> None:
        try:
            os.execve(self.file, self.args, env)  # noqa: S606
        except OSError as error:
            if error.errno != errno.ENOEXEC:
                raise
            os.execve(_NO_FORMAT, [_NO_FORMAT, self.file, *self.args[1:]], env)  # noqa: S606
