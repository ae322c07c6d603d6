"""Conflict: why a program ended without its port, and what to do about it.

A port conflict is the only reason to start a program again, and an exit status does not tell it from others.  So:

- it never had one of its ports, failed, and was not killed; and
- somebody else has the port: another port, and a restart; or
- after *shared* nobody has, and right before it ended a socket was closed that had been neither bound nor connected, as
  after a bind that was refused: by our own hold, for it sets no SO_REUSEADDR.  Then the same port, *released*, once.

That trace is no proof.  A connect without a route leaves the same, and so does a look whether there is IPv6; and the
kernel does not say whose socket it was, not even which user's.  Mistaken for a refused bind it costs one more start.
"""

import os
import time

from anyport._linux.closings import Closings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from anyport._linux.row import Row

PASS_ON, ANOTHER_PORT, RELEASE = "pass on", "another port", "release"
_RECENT = 0.25  # seconds before its end in which a program that fails to bind closes its socket, on an idle processor
_PATIENCE = 1.0  # seconds in which the kernel must have told of all that was closed


def verdict(*, taken: bool, refused_by_us: bool) -> str:
    """Decide what to do about a program that failed without ever having a port of its own."""
    if taken:
        return ANOTHER_PORT
    return RELEASE if refused_by_us else PASS_ON


class Attempts:
    """Watch for sockets that are closed without ever having been bound or connected, as after a refused bind."""

    def __init__(self, protocols: "Iterable[str]") -> None:
        self._seen = float("-inf")
        self._closings: list[Closings] = []
        try:
            self._closings += map(Closings, protocols)
        except OSError:  # netlink is refused in some sandboxes: then there is no such evidence
            self.close()

    @property
    def descriptors(self) -> "list[int]":
        """Return the descriptors that are readable when there is something to take note of."""
        return [each.fileno() for each in self._closings]

    def note(self) -> None:
        """Take note of what was closed until now."""
        if any(_is_attempt(row) for each in self._closings for row in each.read()):
            self._seen = time.monotonic()

    def was_just_made(self) -> bool:
        """Tell, once the program has ended, whether such a socket was closed right before."""
        age = time.monotonic() - self._seen
        if any(_is_attempt(row) for each in self._closings for row in each.read_all(_PATIENCE)):
            return True
        # Where twenty share a processor, all of this takes twenty times as long.
        share = os.getloadavg()[0] / (os.cpu_count() or 1)
        return age < _RECENT * max(1.0, share)

    def close(self) -> None:
        while self._closings:
            self._closings.pop().close()


def _is_attempt(row: "Row") -> bool:
    return not (row.port or row.remote_port or row.interface)
