"""Files that others read: the port file and the shell file, written so that nobody sees half of one."""

import os
from stat import S_ISREG

from anyport.errors import AnyportError

_PERMISSIONS = 0o777


def check_place(path: str, what: str) -> None:
    """Raise AnyportError unless a file with this path can be made, or replaced; `what` is its name in messages."""
    folder = os.path.dirname(path) or "."
    if not path or (os.path.exists(path) and not os.path.isfile(path)):
        raise AnyportError(f"{what} {path!r} is no regular file, and is not replaced", hint="name a file")
    if not os.path.isdir(folder):
        raise AnyportError(f"{what} {path} can't be written: there is no directory {folder}", hint=f"mkdir -p {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise AnyportError(
            f"{what} {path} can't be written: no files may be made in {folder}", hint="name a place of your own"
        )


def write_whole(path: str, content: str, what: str, hint: str) -> None:
    """Write a file so that whoever looks sees all of it or nothing: under another name, then renamed.

    A symbolic link is replaced, not followed, as by `sed -i`: it may lead to the same file of another work tree, or
    where somebody else wants to have something overwritten.
    """
    temporary = f"{path}.{os.urandom(4).hex()}.tmp"
    try:
        with open(temporary, "x", encoding="utf-8") as file:  # another encoding is another import: 0.5 ms
            _take_after(file.fileno(), path)
            file.write(content)
        os.rename(temporary, path)
    except OSError as error:
        if os.path.lexists(temporary):
            os.unlink(temporary)
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
