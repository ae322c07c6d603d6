"""sd_listen_fds(3): sockets as descriptors from 3 on, and the variables that say so.

LISTEN_PID has to be the program's own process id, so somebody has to set it between fork and exec.  `anyport run` does
it in the child it forks.  For `subprocess.Popen` there is no safe place to do it; so this file is also a script, which
is started in front of the program and becomes it.  For that it imports nothing of the package.
"""

import os
import sys
from fcntl import F_DUPFD_CLOEXEC, fcntl

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Sequence
else:
    import _signal as signal  # without its other half, which makes enums: 2 ms

FIRST = 3  # SD_LISTEN_FDS_START


def variables(names: "Sequence[str]") -> "dict[str, str]":
    """Return what the program finds in its environment; for the process that becomes it."""
    return {"LISTEN_FDS": str(len(names)), "LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": ":".join(names)}


def arrange(fds: "Sequence[int]") -> None:
    """Put these descriptors at 3, 4, ...; whatever else was there is closed."""
    # First out of the way, all of them: one may stand where another belongs.
    parked = [fcntl(fd, F_DUPFD_CLOEXEC, FIRST + len(fds)) for fd in fds]
    for number, fd in enumerate(parked, FIRST):
        os.dup2(fd, number)


def caller_environment() -> "dict[str, str]":
    """Return our environment as the caller gave it: without a locale Python sets LC_CTYPE for itself (PEP 538)."""
    env = dict(os.environ)
    try:
        if "LC_CTYPE" in env:
            with open("/proc/self/environ", "rb") as file:
                if b"\0LC_CTYPE=" not in b"\0" + file.read():
                    del env["LC_CTYPE"]
    except OSError:  # no /proc
        return env
    return env


def launcher(fds: "Sequence[int]", names: "Sequence[str]") -> "list[str]":
    """Return what to put in front of a command so that it is started with these sockets."""
    return [sys.executable, "-I", "-S", __file__, ",".join(map(str, fds)), ":".join(names)]


def _main(fds: str, names: str, *command: str) -> None:
    numbers = [int(fd) for fd in fds.split(",")]
    arrange(numbers)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores both
        signal.signal(number, signal.SIG_DFL)
    env = {**caller_environment(), **variables(names.split(":"))}
    for fd in numbers:
        if fd >= FIRST + len(numbers):
            os.close(fd)
    try:
        os.execvpe(command[0], command, env)  # noqa: S606
    except OSError as error:
        sys.stderr.write(f"anyport: {command[0]} can't be started: {error.strerror} (errno {error.errno})\n")
        sys.exit(127 if isinstance(error, FileNotFoundError) else 126)


if __name__ == "__main__":
    _main(*sys.argv[1:])
