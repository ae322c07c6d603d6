"""flock(2), waited for with a limit."""

import fcntl

from anyport._clock import pauses


def flock(fd: int, limit: float) -> bool:
    """Lock a file or folder for us alone; False if others have had it for so many seconds."""
    for _ in pauses(limit):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        return True
    return False
