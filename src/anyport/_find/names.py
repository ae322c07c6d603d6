"""Names: what makes a number the same one next time, for a name or for a git work tree."""

import os

from anyport.errors import AnyportError


def work_tree(folder: "str | None" = None) -> str:
    """Return the top folder of the git work tree around a folder (default: the current one), else that folder itself.

    That is what `git rev-parse --show-toplevel` prints, but for two things.  Where git fails there is an answer too: in
    a bare repository, in another user's, in a linked work tree whose repository is out of sight (in a container, say).
    And only folders count, no variable and no `core.worktree`: git sets GIT_DIR for its hooks, and takes the current
    folder for the top then.
    """
    try:
        here = os.path.realpath(os.getcwd() if folder is None else folder)
    except OSError as error:
        raise AnyportError(f"there is no current folder: {error.strerror}", hint="cd to one that exists") from None
    top = here
    while not _has_repository(top):
        parent = os.path.dirname(top)
        if parent == top:
            return here
        top = parent
    return top


def _has_repository(folder: str) -> bool:
    """Tell whether `.git` is there: a file in a linked work tree or submodule, else a folder with a HEAD.

    An empty folder of that name is not one: some sandboxes leave them behind (gitrepository-layout(5)).
    """
    git = os.path.join(folder, ".git")
    return os.path.isfile(git) or os.path.lexists(os.path.join(git, "HEAD"))


def digest(kind: str, name: str, label: str, uid: int) -> bytes:
    """Return 20 bytes: 16 that order the quiet range for this name, and 4, never all zero, for it in the ledger."""
    from _blake2 import blake2b  # hashlib would load OpenSSL, 3 ms

    text = "\0".join((str(uid), kind, name, label))
    found = blake2b(text.encode("utf-8", "surrogateescape"), digest_size=24, person=b"anyport name").digest()
    return found[:16] + (found[16:20] if any(found[16:20]) else b"\1" * 4)
