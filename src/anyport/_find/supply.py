"""The supply: where the numbers of a search come from, in their order and past the ledger; and what was tried."""

import os
from errno import EADDRINUSE

from anyport._address import TCP
from anyport._find.candidates import out_of
from anyport._ledger.owner import is_claimed
from anyport._ledger.record import NOTHING
from anyport._ports import LAST, QUIET, quiet_at, shuffled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from anyport._address import Endpoint
    from anyport._find.candidates import Offer
    from anyport._find.probe import Probe
    from anyport._find.selection import Selection
    from anyport._ledger.turns import Ledger, Walk
    from anyport._linux.sysctl import PortSettings

    Offered = Iterable[tuple[int, bytes]]  # ports, each with its record in the ledger

# Draws of the kernel, after which an unclaimed number is bound outright.  Going on to draw, and keeping the refused
# sockets open so that others come, would stand in the way of those for whom the numbers are claimed: in a range of 200
# their binds were refused 267 times of 2,284.
_DRAWS = 8
_MET = 256  # refusals, after which the kernel's table tells what need not be tried: half the time of 20,000 binds


class Trials:
    """The numbers that were probed, each once, and what came of it; `met` counts the refusals since the beginning."""

    def __init__(self, probe: "Probe") -> None:
        self.probe = probe
        self.met = 0
        self._tried: dict[int, tuple[Endpoint, int] | None] = {}

    def is_unused(self, port: int, *, leftovers: bool = False) -> bool:
        """Tell whether a number is unused, by a probe unless it was probed already."""
        if port not in self._tried:
            refusal = self._tried[port] = self.probe.refusal(port, leftovers=leftovers)
            self.met += bool(refusal)
        return self._tried[port] is None

    def refusals(self) -> "dict[int, tuple[Endpoint, int]]":
        """Return the numbers that were refused, each with the endpoint and the errno."""
        return {port: refusal for port, refusal in self._tried.items() if refusal}

    def let_go(self, ports: "Iterable[int]") -> None:
        """Hold these no longer (if anything is held at all); whether they are unused must be asked anew."""
        for port in ports:
            if port in self.probe.held:
                self.probe.let_go(port)
                del self._tried[port]

    def clear(self) -> None:
        """Begin anew: nothing is held, and nothing was tried."""
        self.let_go(list(self.probe.held))
        self._tried.clear()


class Supply:
    """The numbers that a selection allows, in the order in which they are tried.

    `bound` is what the kernel's table was seen to hold, which is passed over; `exhausted` says that the kernel had no
    number left to give.
    """

    def __init__(
        self, selection: "Selection", trials: Trials, settings: "PortSettings", offer: "Offer", walk: "Walk"
    ) -> None:
        self._selection = selection
        self._trials = trials
        self._settings = settings
        self._offer = offer
        self._walk = walk
        self.bound: set[int] = set()
        self.exhausted = False

    def named_outright(self, ledger: "Ledger | None") -> "Offered":
        """Yield the numbers that the caller named one by one."""
        for port in self._selection.preferred:
            if self._offer.allows(port, named=True):
                yield port, ledger.record(port) if ledger else NOTHING

    def of_base(self, ledger: "Ledger | None") -> "Offered":
        """Return the numbers of the base that the selection has, for when those that were named are used up."""
        base = self._selection.base
        if base == "quiet" and self._offer.has_quiet:
            return self._quiet_then_drawn(ledger)
        if base in ("quiet", "ephemeral"):
            return self._drawn(ledger)
        return steered(ledger, self.candidates())

    def candidates(self) -> "Iterable[int]":
        """Return the numbers from the first one on, or those of the set, in their order."""
        selection = self._selection
        if selection.start is not None:
            return filter(self._offer.allows, self._past_bound(range(selection.start, LAST + 1)))
        numbers = out_of(selection.ports, self._offer) if selection.ports else []
        return numbers if selection.order == "ascending" else shuffled(numbers)

    def passed_over(self, last: "int | None") -> "dict[int, tuple[Endpoint, int]]":
        """Return what was passed over for being bound, below the last number that was tried (None: all)."""
        in_use = (self._trials.probe.endpoints[0], EADDRINUSE)
        passed = range(self._selection.start or LAST, LAST + 1 if last is None else last)
        tried = self._trials.refusals()
        return {port: in_use for port in self.bound if port in passed and port not in tried}

    def _quiet_then_drawn(self, ledger: "Ledger | None") -> "Offered":
        """Yield quiet numbers; where none of them is unused, there is still the kernel's choice."""
        if ledger:
            yield from ledger.by_turn(self._walk)
            if self._walk.needs_survey:
                return
        else:
            start = int.from_bytes(os.urandom(4), "little")
            turns = map(quiet_at, range(start, start + len(QUIET)))
            yield from steered(None, filter(self._offer.is_quiet, turns))
        yield from self._drawn(ledger)

    def _past_bound(self, numbers: "Iterable[int]") -> "Iterator[int]":
        """Leave out, once many were refused, what the kernel's table says is bound: every bind of those would fail."""
        endpoint, bound = self._trials.probe.endpoints[0], self.bound
        loaded = not (endpoint.everywhere and endpoint.kind == TCP)  # elsewhere another address may be meant
        for port in numbers:
            if not loaded and self._trials.met > _MET:
                loaded = True
                bound.update(_bound_tcp_ports())
            if port not in bound:
                yield port

    def _drawn(self, ledger: "Ledger | None") -> "Offered":
        """Yield what the kernel gives for port 0; once it has given claimed ones only, an unclaimed one of its range.

        Nothing when it has none left to give.
        """
        for _ in range(_DRAWS):
            try:
                sock, port = self._trials.probe.draw()
            except OSError as error:
                if error.errno != EADDRINUSE:
                    raise
                self.exhausted = True
                return
            sock.close()
            record = ledger.record(port) if ledger else NOTHING
            if self._offer.allows(port) and not (ledger and is_claimed(record, ledger.now)):
                yield port, record
        low, high = self._settings.low, self._settings.high
        yield from steered(ledger, shuffled(list(filter(self._offer.allows, range(low, high + 1)))))


def steered(ledger: "Ledger | None", candidates: "Iterable[int]", name: int = 0) -> "Offered":
    """Yield the candidates with their records, those that are claimed last; without a ledger as they come."""
    if ledger is None:
        return ((port, NOTHING) for port in candidates)
    return ledger.unclaimed_first(candidates, name)


def _bound_tcp_ports() -> "set[int]":
    from anyport._linux.sock_diag import bound_tcp_ports

    try:
        return bound_tcp_ports()
    except OSError:  # netlink is refused in some sandboxes: then every number is tried
        return set()
