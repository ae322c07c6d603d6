"""The ledger's health: where it lies, whether it can be opened, locked and read, and how many claims it has.

Looking begins no ledger where there is none, writes nothing, and repairs nothing.
"""

import os
import stat
from typing import NamedTuple

from anyport._clock import boot_microseconds
from anyport._ledger import place
from anyport._ledger.file import locked
from anyport._ledger.owner import lives
from anyport._ledger.record import SLOT, WHOLE, claims_in, unpack_header
from anyport._linux.flock import flock
from anyport._linux.sysctl import boot_word
from anyport.errors import LedgerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from anyport.errors import Tell

_WAIT = 1.0  # seconds for the lock, which everybody keeps for some milliseconds at most
USABLE, NONE_YET, UNUSABLE = "usable", "none yet", "unusable"
STALE = "stale"  # of an earlier boot, or broken: the next call begins it anew


class Health(NamedTuple):
    """`state` is one of the above; `remarks` are what should be changed, as pairs of a message and a hint."""

    path: str
    state: str
    claims: int
    remarks: tuple[tuple[str, str], ...]


def examine(namespace: int) -> Health:
    """Return the health of this user's ledger for the network namespace with this cookie, the caller's own."""
    remarks: list[tuple[str, str]] = []

    def note(_kind: str, message: str, hint: str) -> None:
        remarks.append((message, hint))

    paths = place.paths(namespace)
    path, state, claims = paths[0], NONE_YET, 0
    try:
        if future := _future(paths, note):
            path = future
        else:
            remarks.clear()
            fd, path, _ = place.open_ledger(namespace, note, tidy=False)
            try:
                state, claims = _read(fd, path)
            finally:
                os.close(fd)
    except OSError as error:
        state = UNUSABLE
        remarks[:] = [_remark(error, path)]  # which says of each place what else was remarked
    return Health(path, state, claims, tuple(remarks))


def _future(paths: "Sequence[str]", tell: "Tell") -> str:
    """Tell where the next call will begin one, as far as is known without doing it; an empty text if there is one."""
    is_named = bool(os.environ.get(place.VARIABLE))
    for path in paths:
        folder = os.path.dirname(path)
        if not is_named and os.path.lexists(folder) and (owner := _stranger(folder)):
            tell("warning", *place.cannot_be_kept(folder, owner))
            continue
        if os.path.lexists(path):
            return ""
        if not (is_named or os.path.lexists(folder)):
            folder = os.path.dirname(folder)
        elif not is_named and stat.S_IMODE(os.lstat(folder).st_mode) & 0o700 != 0o700:
            said = f"{folder} has mode {stat.S_IMODE(os.lstat(folder).st_mode):04o}, and the next call sets it back"
            tell("warning", said, f"`chmod 700 {folder}`")
            return path
        if os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
            return path
    return ""


def _stranger(folder: str) -> str:
    """Say why this is no folder of ours, or an empty text."""
    found = os.lstat(folder)
    if not stat.S_ISDIR(found.st_mode):
        return "it is no folder"
    return "" if found.st_uid == os.geteuid() else f"it belongs to uid {found.st_uid}"


def _read(fd: int, path: str) -> "tuple[str, int]":
    if not flock(fd, _WAIT):
        raise locked(path, "another process", _WAIT)
    slots = os.pread(fd, WHOLE, 0).ljust(WHOLE, b"\0")
    if unpack_header(slots[:SLOT], boot_word()) is None:
        return STALE, 0
    return USABLE, len(claims_in(slots, boot_microseconds(), lives))


def _remark(error: OSError, path: str) -> "tuple[str, str]":
    if isinstance(error, LedgerError):
        return str(error), error.hint
    return (
        f"the ledger {path} can't be used: {error.strerror} (errno {error.errno})",
        f"name a file in {place.VARIABLE}",
    )
