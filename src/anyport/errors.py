"""What can go wrong: one class for each thing that a caller can do about it.

Every class is an `AnyportError` and a child of the builtin it resembles, carries its facts as attributes, survives
pickling, and keeps the way out (`hint`) apart from what failed (the message).
"""

import os
import sys
from errno import EAGAIN, EMFILE, ENFILE, ENOBUFS, ENOMEM

TYPE_CHECKING = False  # the name is what type checkers look for; importing typing would cost 3 ms at start
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anyport._occupant import Occupant, Refusal

    # What is no error, and yet to be told: "warning", "note" or nothing, the message, and a hint or an empty text.
    Tell = Callable[[str, str, str], None]


class AnyportError(Exception):
    """The root of all errors that anyport raises.

    Attributes: `hint`, a sentence that names a way out, or an empty string.
    """

    facts: "tuple[str, ...]" = ("hint",)

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    # OSError and ValueError rebuild themselves from `args` alone, which would lose the facts.
    def __reduce__(self) -> "tuple[Callable[..., AnyportError], tuple[object, ...]]":
        return _rebuild, (type(self), self.args, {name: getattr(self, name) for name in self.facts})


def _rebuild(kind: "type[AnyportError]", args: "tuple[str, ...]", facts: "dict[str, object]") -> AnyportError:
    error = kind(*args)
    for name, value in facts.items():
        setattr(error, name, value)
    return error


class InvalidSelection(AnyportError, ValueError):
    """The question itself is wrong: a number, range, duration or combination that can't be asked for.

    Raised before any system call.
    """


class _SystemError(AnyportError, OSError):
    """An error with an `errno`, the one the system call gave (or None)."""

    facts: "tuple[str, ...]" = ("hint", "errno")

    def __init__(self, message: str, *, hint: str = "", errno: "int | None" = None) -> None:
        super().__init__(message, hint=hint)
        self.errno = errno


class AddressUnavailable(_SystemError):
    """A host that was asked for does not resolve, or is no address of this machine."""


class NoUnusedPort(_SystemError):
    """No port of those that were asked for is unused.

    Attributes: `refusals`, a list of `anyport.Refusal`: each number that was tried, the errno of its bind and, as far
    as they can be seen, the sockets that have it; `hint`; `errno` (that of the first refusal, or None).
    """

    facts = ("hint", "errno", "refusals")

    def __init__(
        self, message: str, *, hint: str = "", errno: "int | None" = None, refusals: "Sequence[Refusal]" = ()
    ) -> None:
        super().__init__(message, hint=hint, errno=errno)
        self.refusals = list(refusals)


class ResourceLimit(_SystemError):
    """The system has no socket or descriptor left for this process, so no port could be tried at all."""

    @classmethod
    def of(cls, error: OSError, what: str) -> "ResourceLimit":
        """Return the error that this one of a system call comes to; `what` is what could not be had."""
        hint = "a sandbox or a limit of this system seems to forbid it"
        if error.errno == EMFILE:
            limit = os.sysconf("SC_OPEN_MAX")  # the resource module would be an import, which needs a descriptor
            hint = f"the limit RLIMIT_NOFILE is {limit}: close descriptors, or raise it with `ulimit -n`"
        elif error.errno == EAGAIN:
            hint = "too many processes: the limit is RLIMIT_NPROC (`ulimit -u`), or that of the cgroup"
        elif error.errno in (ENFILE, ENOMEM, ENOBUFS):
            hint = "the machine as a whole is out of it: see fs.file-max and the memory in use"
        return cls(f"{what}: {error.strerror} (errno {error.errno})", hint=hint, errno=error.errno)


class Unsupported(_SystemError):
    """This system lacks what the call needs (so far anyport runs on Linux only)."""


def require_linux() -> None:
    """Raise Unsupported elsewhere: flock, memfd, the boot clock and sock_diag are Linux's own."""
    if sys.platform != "linux":
        raise Unsupported(f"anyport runs on Linux only so far, and this is {sys.platform}", hint="WSL 2 is Linux too")


class HandOverUnavailable(AnyportError):
    """The program can't get its port in the way that was asked for, here or at all."""


class NotReady(AnyportError, TimeoutError):
    """The program does not have its port: it ended, or did not listen in time and was stopped.

    Attributes: `status`, its exit status, negative for a signal, or None if it was stopped; `hint`.
    """

    facts: "tuple[str, ...]" = ("hint", "status")

    def __init__(self, message: str, *, hint: str = "", status: "int | None" = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class TimedOut(AnyportError, TimeoutError):
    """A port did not come to be listened on, or unused, in the time that was given.

    Attributes: `occupants`, a list of `anyport.Occupant`: the sockets that have those ports, or
    the first five of them; `hint`.
    """

    facts: "tuple[str, ...]" = ("hint", "occupants")

    def __init__(self, message: str, *, hint: str = "", occupants: "Sequence[Occupant]" = ()) -> None:
        super().__init__(message, hint=hint)
        self.occupants = list(occupants)


class ProgramNotFound(_SystemError, FileNotFoundError):
    """The program to run is not there."""


class ProgramNotExecutable(_SystemError, PermissionError):
    """The program to run is a directory, or may not be executed, or is of no format that the system knows."""


class PortServerError(_SystemError, ConnectionError):
    """The portserver that PORTSERVER_ADDRESS names can't be asked, is another user's, or gives no port.

    `find` does not go on without it: whoever relies on a server for different numbers would not notice.
    """


class LedgerError(_SystemError):
    """The ledger can't be used.

    `find` never raises it: it warns, and goes on with a ledger of its own process.
    """


class AnyportWarning(UserWarning):
    """A promise that the caller did not give up is not kept here, or the ledger can't be used."""
