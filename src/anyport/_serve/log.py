"""What a portserver says of itself: refusals, but no flood of them; what it gives and takes back, if that is wanted."""

import time

from anyport._linux.proc import comm
from anyport._occupant import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from anyport.errors import Tell

_MOST = 10  # refusals that are told in a second


class Log:
    """Tells by `tell` (kind, message, hint), and counts."""

    def __init__(self, tell: "Tell", *, verbose: bool = False) -> None:
        self._tell = tell
        self._verbose = verbose
        self._second = self._told = self._untold = 0
        self._gave = self._refused = self._took_back = 0

    def gave(self, port: int, pid: int) -> None:
        self._gave += 1
        if self._verbose:
            self._tell("", f"{port} is process {pid}'s ({printable(comm(pid))})", "")

    def took_back(self, port: int, pid: int) -> None:
        self._took_back += 1
        if self._verbose:
            self._tell("", f"{port} is free again: process {pid} has ended", "")

    def refused(self, why: str) -> None:
        """Tell that a client got no port: some of them a second, and how many more there were."""
        self._refused += 1
        if int(time.monotonic()) != self._second:
            if self._untold:
                self._tell("note", f"{self._untold} more were refused", "")
            self._second, self._told, self._untold = int(time.monotonic()), 0, 0
        if self._told < _MOST:
            self._told += 1
            self._tell("note", f"refused: {why}", "")
        else:
            self._untold += 1

    def recalled(self, count: int) -> None:
        """Tell how many ports processes have from an earlier server."""
        if count:
            self._tell("note", f"living processes have {count} of the ports from an earlier server", "")

    def counts(self, owners: int, given: int, free: int) -> None:
        """Tell what was given since the start, and what is given now."""
        total = f"ports given: {self._gave}, free again: {self._took_back}, requests refused: {self._refused}"
        self._tell("note", f"{total}; now given: {given}, to so many processes: {owners}, free: {free}", "")
