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
    from collections.abc import Sequence

FIRST = 3  # SD_LISTEN_FDS_START


def variables(names: "Sequence[str]") -> "dict[str, str]":
    """What the program finds in its environment; for the process that becomes it."""
    return {"LISTEN_FDS": str(len(names)), "LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": ":".join(names)}


def arrange(fds: "Sequence[int]") -> None:
    """Put these descriptors at 3, 4, ...; whatever else was there is closed."""
    # First out of the way, all of them: one may stand where another belongs.
    parked = [fcntl(fd, F_DUPFD_CLOEXEC, FIRST + len(fds)) for fd in fds]
    for number, fd in enumerate(parked, FIRST):
        os.dup2(fd, number)


def launcher(fds: "Sequence[int]", names: "Sequence[str]") -> "list[str]":
    """What to put in front of a command so that it is started with these sockets."""
    return [sys.executable, "-I", "-S", __file__, ",".join(map(str, fds)), ":".join(names)]


def _main(fds: str, names: str, *command: str) -> None:
    numbers = [int(fd) for fd in fds.split(",")]
    arrange(numbers)
    os.environ.update(variables(names.split(":")))
    for fd in numbers:
        if fd >= FIRST + len(numbers):
            os.close(fd)
    try:
        os.execvp(command[0], command)  # noqa: S606
    except OSError as error:
        sys.stderr.write(f"anyport: {command[0]} can't be started: {error.strerror} (errno {error.errno})\n")
        sys.exit(127 if isinstance(error, FileNotFoundError) else 126)


if __name__ == "__main__":
    _main(*sys.argv[1:])
