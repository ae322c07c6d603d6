"""Where the ledger lies, and how it is opened without trusting whoever else can write there."""

import os
import stat
import time
from errno import ELOOP, EMFILE, ENFILE

from anyport._ledger.record import MAGIC, SLOT, VERSION, WHOLE
from anyport.errors import LedgerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from anyport.errors import Tell

VARIABLE = "ANYPORT_LEDGER"
_STALE = 25 * 3600.0  # seconds without a write: an hour past the longest claim

# O_NONBLOCK: a FIFO in the ledger's place must not hang us.
_OPEN = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class _NotOurs(Exception):
    """Somebody else has the place, or put something else there."""


def open_ledger(namespace: int, tell: "Tell", *, tidy: bool = True) -> "tuple[int, str, bool]":
    """Return a descriptor and the path of this user's ledger for a network namespace, and whether the user named it.

    LedgerError if there is no place.  With `tidy` modes that somebody changed are mended, and ledgers that nobody uses
    any more removed.

    The place is the first of /run/user/UID, /dev/shm and /tmp that is ours.  It never depends on XDG_RUNTIME_DIR, which
    is missing under cron, su and CI and would split the ledger in two.  `tell` gets a warning of a place that
    somebody else has taken.  Raises OSError (EMFILE, ENFILE) when there is no descriptor left.
    """
    shared = os.environ.get(VARIABLE)
    if shared:
        return *_open_shared(shared), True
    failures: list[str] = []
    for folder in _folders(os.geteuid()):
        try:
            return *_open_own(folder, _name(namespace), tidy=tidy), False
        except _NotOurs as error:
            hint = f"remove it, or name a file in {VARIABLE}"
            tell("warning", f"the ledger can't be kept in {folder}: {error}", hint)
            failures.append(f"{folder}: {error}")
        except OSError as error:
            if error.errno in (EMFILE, ENFILE):
                raise
            failures.append(f"{folder}: {error.strerror}")
    raise LedgerError(
        f"there is no place for the ledger ({'; '.join(failures)})",
        hint=f"name a writable file in {VARIABLE}, or do without by --keep 0",
    )


def existing(namespace: int) -> "str | None":
    """Return the path of the first ledger of this user's that is there; nothing is made or opened."""
    is_named = bool(os.environ.get(VARIABLE))
    for path in paths(namespace):
        if os.path.isfile(path) and (is_named or _is_ours(os.path.dirname(path))):
            return path
    return None


def _is_ours(folder: str) -> bool:
    try:
        found = os.lstat(folder)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def _name(namespace: int) -> str:
    return f"ledger-{VERSION}-{namespace:x}"


def _open_shared(name: str) -> "tuple[int, str]":
    """Open the file that the user named, whoever owns it, and leave its mode as it is.

    It must be a ledger, or empty: any other file would be overwritten.
    """
    try:
        path = os.path.abspath(name)  # the current folder may be another one when the path is looked at again
        fd = _open_or_make(path)
    except OSError as error:
        if error.errno in (EMFILE, ENFILE):
            raise
        raise _unusable(name, error.strerror or "unknown") from None
    try:
        check_content(fd, path)
    except LedgerError:
        os.close(fd)
        raise
    return fd, path


def check_content(fd: int, path: str) -> None:
    """Raise LedgerError if a file that the user named holds something else than a ledger, which may be of value."""
    reason = _no_ledger(fd)
    if reason:
        raise _unusable(path, reason)


def _unusable(path: str, reason: str) -> LedgerError:
    return LedgerError(
        f"the ledger {path!r} named in {VARIABLE} can't be used: {reason}",
        hint="name a file that you may read and write, a new one or a ledger, or unset the variable",
    )


def _open_or_make(path: str) -> int:
    # Not O_CREAT at once: in a sticky folder it fails on another user's file (fs.protected_regular, proc_sys_fs(5)).
    try:
        return os.open(path, _OPEN & ~os.O_CREAT)
    except FileNotFoundError:
        return os.open(path, _OPEN, 0o666)


def _no_ledger(fd: int) -> str:
    """Say why this is no file to keep a ledger in, or an empty text."""
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        return "not a regular file"
    try:
        head = os.pread(fd, SLOT, 0)
    except OSError as error:
        return error.strerror or "it can't be read"
    begun = found.st_size == WHOLE and not any(head)  # whoever made it was killed before the header
    return "" if not head or begun or head.startswith(MAGIC[: len(head)]) else "it holds something else"


def paths(namespace: int) -> "list[str]":
    """Return where this user's ledger for a network namespace may lie, the first choice first."""
    if named := os.environ.get(VARIABLE):
        return [os.path.abspath(named)]
    return [f"{folder}/{_name(namespace)}" for folder in _folders(os.geteuid())]


def _folders(uid: int) -> "list[str]":
    found = [f"/dev/shm/anyport-{uid}", f"/tmp/anyport-{uid}"]  # noqa: S108 - checked to be ours when opened
    session = f"/run/user/{uid}"
    return [f"{session}/anyport", *found] if _is_ours(session) else found


def _open_own(folder: str, name: str, *, tidy: bool) -> "tuple[int, str]":
    if not os.path.lexists(folder):
        _make(folder)
    directory = _open_checked(folder, _OPEN_FOLDER, None, stat.S_IFDIR | 0o700, tidy=tidy)
    try:
        fd = _open_checked(name, _OPEN | os.O_NOFOLLOW, directory, stat.S_IFREG | 0o600, tidy=tidy)
        if tidy and not os.fstat(fd).st_size:
            _sweep(directory)
    finally:
        os.close(directory)
    return fd, f"{folder}/{name}"


def _make(folder: str) -> None:
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        return  # another process was quicker; whoever it was, the folder is checked when it is opened


def _open_checked(path: str, flags: int, within: "int | None", mode: int, *, tidy: bool) -> int:
    """Open what must be of this kind and ours, through no link, and give it its mode back if somebody changed it."""
    try:
        fd = os.open(path, flags, stat.S_IMODE(mode), dir_fd=within)
    except NotADirectoryError:
        raise _NotOurs("it is not a directory") from None
    except IsADirectoryError:
        raise _NotOurs(f"{path} is a directory") from None
    except OSError as error:
        if error.errno == ELOOP:
            raise _NotOurs(f"{path} is a symbolic link") from None
        raise
    found = os.fstat(fd)
    what = ""
    if stat.S_IFMT(found.st_mode) != stat.S_IFMT(mode):
        what = "is of the wrong kind"
    elif found.st_uid != os.geteuid():
        what = f"belongs to uid {found.st_uid}"
    elif stat.S_ISREG(found.st_mode) and found.st_nlink != 1:
        what = f"has {found.st_nlink} names"
    if what:
        os.close(fd)
        raise _NotOurs(f"{path} {what}")
    if tidy and found.st_mode != mode:
        os.fchmod(fd, stat.S_IMODE(mode))
    return fd


def _sweep(directory: int) -> None:
    """Remove the ledgers of network namespaces that nobody uses any more."""
    oldest = time.time() - _STALE
    for name in os.listdir(directory):
        try:
            if name.startswith("ledger-") and os.stat(name, dir_fd=directory, follow_symlinks=False).st_mtime < oldest:
                os.unlink(name, dir_fd=directory)
        except OSError:  # another sweeper was quicker
            continue
