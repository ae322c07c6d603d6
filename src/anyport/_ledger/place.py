"""Where the ledger lies, and how it is opened without trusting whoever else can write there.

One place for a user and a machine, whoever logs in or out: /dev/shm/anyport-UID, and where that can't be used
/tmp/anyport-UID.  (/run/user/UID comes with the first login and goes with the last logout, XDG_RUNTIME_DIR is missing
under cron, su and CI, and TMPDIR is anybody's choice: each of them would split the ledger in two.)

The first place may fail for a while: no inode is left, somebody else has taken the name, or logind removed what is the
user's there when he logged out (RemoveIPC, logind.conf(5)).  So places can follow each other in time, but not last side
by side:

- Whoever opens a ledger looks for one that was used meanwhile in a later place, takes over its claims and removes it.
- The path of a file is looked at after its lock was had, and again after claims were written.  Whoever finds that it
  names another file, or none, goes where the others are, and takes along the claims of the file that he has open.
- That a place can't be used is told, unless there is none here: no such folder, or one in which we may make nothing.

What is lost: the claims of a removed file that no living process has open, until they would have ended.
"""

import fcntl
import os
import stat
import time
from errno import EACCES, ELOOP, EMFILE, ENFILE, ENOENT, ENOTDIR, EROFS

from anyport._clock import boot_microseconds
from anyport._ledger.owner import lives
from anyport._ledger.record import SLOT, VERSION, WHOLE, claims_in, no_header, unpack_header
from anyport._linux.sysctl import boot_word
from anyport.errors import LedgerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from anyport.errors import Tell

VARIABLE = "ANYPORT_LEDGER"
_STALE = 25 * 3600.0  # seconds without a write: an hour past the longest claim
_BEGIN = f"ledger-{VERSION}-"
_TRIES = 3  # to open a file in a folder that somebody removes meanwhile

# O_NONBLOCK: a FIFO in the ledger's place must not hang us.
_OPEN = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class _NotOurs(Exception):
    """Somebody else has the place, or put something else there."""


class _NoPlace(Exception):
    """There is no such place here, or none for us: nobody of this user can have a ledger there."""


def open_ledger(namespace: int, tell: "Tell", *, tidy: bool = True) -> "tuple[int, str, bool]":
    """Return a descriptor and the path of this user's ledger for a network namespace, and whether the user named it.

    LedgerError if there is no place.  With `tidy` modes that somebody changed are mended, and ledgers that nobody uses
    any more removed.

    The place is the first of /dev/shm and /tmp that is ours and can be used.  `tell` gets a warning of one
    that can't.  Raises OSError (EMFILE, ENFILE) when there is no descriptor left.
    """
    shared = os.environ.get(VARIABLE)
    if shared:
        return *_open_shared(shared), True
    failures: list[str] = []
    for folder in _folders(os.geteuid()):
        try:
            return *_open_own(folder, _name(namespace), tidy=tidy), False
        except _NotOurs as error:
            tell("warning", *cannot_be_kept(folder, str(error)))
            failures.append(f"{folder}: {error}")
        except _NoPlace as error:
            failures.append(f"{folder}: {error}")
        except OSError as error:
            if error.errno in (EMFILE, ENFILE):
                raise
            reason = error.strerror or "unknown"
            hint = f"free or mend it, or name a file in {VARIABLE}"
            tell("warning", f"the ledger can't be kept in {folder}: {reason}", hint)
            failures.append(f"{folder}: {reason}")
    raise LedgerError(
        f"there is no place for the ledger ({'; '.join(failures)})",
        hint=f"name a writable file in {VARIABLE}, or do without by --keep 0",
    )


def cannot_be_kept(folder: str, reason: str) -> "tuple[str, str]":
    """Return what to say of a place that is not ours, and what can be done about it."""
    try:
        owner = os.lstat(folder).st_uid
    except OSError:
        owner = os.geteuid()
    # In a sticky folder, as /dev/shm and /tmp are, nobody else may remove it (unlink(2)).
    who = "" if os.geteuid() in (0, owner) else f"have uid {owner} or root "
    hint = f"{who}remove it (`rm -r {folder}`), or name a file in {VARIABLE}"
    return f"the ledger can't be kept in {folder}: {reason}", hint


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
    return f"{_BEGIN}{namespace:x}"


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
        if found.st_size == WHOLE and not any(head):  # most likely whoever made it was killed before the header
            return "it holds something else" if any(os.pread(fd, WHOLE, 0)) else ""
    except OSError as error:
        return error.strerror or "it can't be read"
    if found.st_size > WHOLE:
        return "it holds something else"
    return no_header(head) if head else ""


def paths(namespace: int) -> "list[str]":
    """Return where this user's ledger for a network namespace may lie, the first choice first."""
    if named := os.environ.get(VARIABLE):
        return [os.path.abspath(named)]
    return [f"{folder}/{_name(namespace)}" for folder in _folders(os.geteuid())]


def left_behind(path: str) -> "list[str]":
    """Return the ledgers that were used in later places than this one, while it could not be."""
    folder, name = os.path.split(path)
    folders = _folders(os.geteuid())
    later = folders[folders.index(folder) + 1 :] if folder in folders else []
    return [found for each in later if os.path.lexists(found := f"{each}/{name}")]


def _folders(uid: int) -> "list[str]":
    return [f"/dev/shm/anyport-{uid}", f"/tmp/anyport-{uid}"]  # noqa: S108 - checked to be ours when opened


def open_left_behind(path: str) -> int:
    """Return a descriptor of a ledger in a later place, which must be ours; OSError if it is not, or has gone."""
    try:
        return _in_folder(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except _NotOurs as error:
        raise FileNotFoundError(ENOENT, str(error), path) from None


def _in_folder(path: str, flags: int) -> int:
    folder, name = os.path.split(path)
    directory = _open_checked(folder, _OPEN_FOLDER, None, stat.S_IFDIR | 0o700, tidy=True)
    try:
        return _open_checked(name, flags | os.O_NOFOLLOW, directory, stat.S_IFREG | 0o600, tidy=True)
    finally:
        os.close(directory)


def _open_own(folder: str, name: str, *, tidy: bool) -> "tuple[int, str]":
    for left in range(_TRIES - 1, -1, -1):
        try:
            return _open_in(folder, name, tidy=tidy), f"{folder}/{name}"
        except FileNotFoundError:  # the folder was removed between two steps
            if not left:
                raise
    raise AssertionError


def _open_in(folder: str, name: str, *, tidy: bool) -> int:
    if not os.path.lexists(folder):
        _make(folder)
    directory = _open_checked(folder, _OPEN_FOLDER, None, stat.S_IFDIR | 0o700, tidy=tidy)
    try:
        fd = _open_checked(name, _OPEN | os.O_NOFOLLOW, directory, stat.S_IFREG | 0o600, tidy=tidy)
        if tidy and not os.fstat(fd).st_size:
            _sweep(directory)
    finally:
        os.close(directory)
    return fd


def _make(folder: str) -> None:
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        return  # another process was quicker; whoever it was, the folder is checked when it is opened
    except OSError as error:
        if error.errno in (ENOENT, ENOTDIR, EACCES, EROFS):
            raise _NoPlace(error.strerror) from None
        raise


def _open_checked(path: str, flags: int, within: "int | None", mode: int, *, tidy: bool) -> int:
    """Open what must be of this kind and ours, through no link, and give it its mode back if somebody changed it."""
    try:
        fd = _open_or_mend(path, flags, within, mode, tidy=tidy)
    except NotADirectoryError:
        raise _NotOurs("it is not a directory") from None
    except IsADirectoryError:
        raise _NotOurs(f"{path} is a directory") from None
    except OSError as error:
        if error.errno == ELOOP:
            raise _NotOurs(f"{path} is a symbolic link") from None
        raise
    found = os.fstat(fd)
    if what := _not_ours(found, mode):
        os.close(fd)
        raise _NotOurs(f"{path} {what}")
    if tidy and found.st_mode != mode:
        os.fchmod(fd, stat.S_IMODE(mode))
    return fd


def _not_ours(found: os.stat_result, mode: int) -> str:
    """Say why this is not of our own and the kind that `mode` says, or an empty text."""
    if stat.S_IFMT(found.st_mode) != stat.S_IFMT(mode):
        return "is of the wrong kind"
    if found.st_uid != os.geteuid():
        return f"belongs to uid {found.st_uid}"
    return f"has {found.st_nlink} names" if stat.S_ISREG(found.st_mode) and found.st_nlink != 1 else ""


def _open_or_mend(path: str, flags: int, within: "int | None", mode: int, *, tidy: bool) -> int:
    try:
        return os.open(path, flags, stat.S_IMODE(mode), dir_fd=within)
    except PermissionError:
        if not (tidy and _mend(path, within, mode)):
            raise
    return os.open(path, flags, stat.S_IMODE(mode), dir_fd=within)


def _mend(path: str, within: "int | None", mode: int) -> bool:
    """Give what is ours, and may not even be opened, its mode back: by O_PATH (open(2)), so no link is followed."""
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=within)
    try:
        ours = not _not_ours(os.fstat(fd), mode)
        if ours:
            os.chmod(f"/proc/self/fd/{fd}", stat.S_IMODE(mode))
        return ours
    finally:
        os.close(fd)


def _sweep(directory: int) -> None:
    """Remove the ledgers of network namespaces that nobody uses any more.  Another version's claims can't be read."""
    oldest = time.time() - _STALE
    for name in os.listdir(directory):
        try:
            if name.startswith(_BEGIN) and os.stat(name, dir_fd=directory, follow_symlinks=False).st_mtime < oldest:
                _remove_unused(name, directory)
        except OSError:  # another sweeper was quicker
            continue


def _remove_unused(name: str, directory: int) -> None:
    """Remove a ledger, under its lock, unless it has claims: the file's time says little, for that clock may jump."""
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=directory)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if os.path.samestat(found, os.fstat(fd)) and not _has_claims(os.pread(fd, WHOLE, 0)):
            os.unlink(name, dir_fd=directory)
    finally:
        os.close(fd)


def _has_claims(content: bytes) -> bool:
    if unpack_header(content[:SLOT], boot_word()) is None:
        return False
    return bool(claims_in(content.ljust(WHOLE, b"\0"), boot_microseconds(), lives))
