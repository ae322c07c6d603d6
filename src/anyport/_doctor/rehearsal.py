"""A rehearsal of supervision, with children that end: whether `anyport run` could supervise a program here.

Each function returns if it could, and raises the OSError that `run` would have met otherwise.
"""

import _socket
import os
import signal

from anyport._linux import prctl, seccomp
from anyport._supervise import enter
from anyport._supervise.supervisor import Supervisor
from anyport.errors import ResourceLimit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

_PATIENCE = 5  # seconds that a child may take; it needs some milliseconds
_PLAIN_FILE = "/"  # in the place of a program: it is there everywhere, and has no privileges
_UNTOLD = 255  # exit status of a child whose error has no number


def take_descriptor() -> None:
    """Take a child's descriptor, as the supervisor takes the program's sockets."""
    ours, theirs = enter.link()
    pid = _fork()
    if not pid:
        ours.close()
        _end_after(lambda: theirs.recv(1))  # nothing comes: it waits until we are done
    try:
        enter.take_descriptor(pid, theirs.fileno())
    finally:
        ours.close()
        theirs.close()
        os.waitpid(pid, 0)


def install_filter() -> None:
    """Have a child install a filter with a listener, which it keeps until it ends."""

    def install() -> None:
        prctl.set_no_new_privs()
        seccomp.listen_to(enter.CALLS)

    pid = _fork()
    if not pid:
        _end_after(install)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status:
        raise _error_of(status, "seccomp")


def supervise(port: int, held: "Sequence[_socket.socket]") -> None:
    """Supervise a child, which binds this port without SO_REUSEADDR and listens, while its hold stays shut."""
    ours, theirs = enter.link()
    refused: list[OSError] = []
    try:
        pid = _fork()
        if not pid:
            ours.close()
            _end_after(lambda: _be_supervised(theirs, port))
        theirs.close()
        listener = enter.begin_supervised(ours, pid, refused.append)
        lost = _answer_all(listener, port, held) if listener is not None else ""
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        ours.close()
        theirs.close()
    if refused:
        raise refused[0]
    if lost:
        raise OSError(lost)
    if status:
        raise _error_of(status, "the supervised child")


def _answer_all(listener: int, port: int, held: "Sequence[_socket.socket]") -> str:
    """Answer all that the child asks; return why that can't be done, or an empty text."""

    def ignore(_kind: str, _message: str, _hint: str) -> None:
        """Leave it to the caller to say why."""

    try:
        supervisor = Supervisor(listener, {("tcp", port): held}, {}, ignore)
        supervisor.serve_all()
    finally:
        os.close(listener)
    return supervisor.why_lost


def _error_of(status: int, call: str) -> OSError:
    """Return the error that ended a child, which came from this call."""
    if status < 0:  # some sandboxes kill who tries
        return OSError(f"a child that tried it was killed by signal {-status}")
    return OSError(f"{call} failed") if status == _UNTOLD else enter.SupervisionRefused(call, status)


def _fork() -> int:
    try:
        return os.fork()
    except OSError as error:
        raise ResourceLimit.of(error, "no process for a trial") from None


def _be_supervised(end: "_socket.socket", port: int) -> None:
    enter.enter(end, enter.CALLS, _PLAIN_FILE)
    sock = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    try:
        sock.bind(("127.0.0.1", port))
        sock.listen(1)
    finally:
        sock.close()


def _end_after(work: "Callable[[], object]") -> "NoReturn":
    """Do this, in a child, and end with the errno as status; be killed if it takes too long."""
    status = _UNTOLD
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(_PATIENCE)
        work()
        status = 0
    except OSError as error:
        status = error.errno or _UNTOLD
    finally:
        os._exit(status)
