"""Files that others read: the port file and the shell file, written so that nobody sees half of one."""

import os
from stat import S_ISDIR, S_ISREG

from anyport.errors import AnyportError

_PERMISSIONS = 0o777
_ELSEWHERE = "name a place of your own"


def check_place(path: str, what: str) -> None:
    """Raise AnyportError unless a file with this path can be made, or replaced; `what` is its name in messages."""
    if not path or (os.path.exists(path) and not os.path.isfile(path)) or _is_stream(path):
        raise AnyportError(f"{what} {path!r} is no regular file, and is not replaced", hint="name a file")
    why, hint = _why_no_file_in(os.path.dirname(path) or ".")
    if why:
        raise AnyportError(f"{what} {path} can't be written: {why}", hint=hint)


def _is_stream(path: str) -> bool:
    """Tell whether it is /dev/stdout or the like: a link that means somebody else's file to all who follow it."""
    return os.path.islink(path) and os.readlink(path).startswith("/proc/")


def _why_no_file_in(folder: str) -> "tuple[str, str]":
    """Say why no file may be made there, and what to do about it; or return two empty texts."""
    try:
        is_folder = S_ISDIR(os.stat(folder).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        is_folder = False
    except OSError as error:
        return f"{folder}: {error.strerror} (errno {error.errno})", _ELSEWHERE
    if not is_folder:
        return f"there is no directory {folder}", f"mkdir -p {folder}"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"no files may be made in {folder}", _ELSEWHERE
    return "", ""


def write_whole(path: str, content: str, what: str, hint: str) -> None:
    """Write a file so that whoever looks sees all of it or nothing: under another name, then renamed.

    A symbolic link is replaced, not followed, as by `sed -i`: it may lead to the same file of another work tree, or
    where somebody else wants to have something overwritten.
    """
    temporary = f"{path}.{os.urandom(4).hex()}.tmp"
    try:
        with open(temporary, "x", encoding="utf-8") as file:  # another encoding is another import: 0.5 ms
            try:
                _take_after(file.fileno(), path)
                file.write(content)
                file.flush()
                os.rename(temporary, path)
            except BaseException:  # Ctrl-C, too
                remove(temporary, what)
                raise
    except OSError as error:
        raise AnyportError(
            f"{what} {path} can't be written: {error.strerror} (errno {error.errno})", hint=hint
        ) from None


def _take_after(fd: int, path: str) -> None:
    """Give a new file the owner, as far as we may, and the permissions of the one that it will replace."""
    try:
        old = os.lstat(path)
    except FileNotFoundError:
        return
    if not S_ISREG(old.st_mode):
        return
    try:
        os.fchmod(fd, old.st_mode & _PERMISSIONS)
        os.fchown(fd, old.st_uid, old.st_gid)
    except PermissionError:  # another user's file, in a folder of ours: now it is our file
        return


def remove(path: str, what: str) -> None:
    """Remove a file of an earlier run, if it is there."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise AnyportError(
            f"{what} {path} of an earlier run can't be removed: {error.strerror}", hint="name another one"
        ) from None
