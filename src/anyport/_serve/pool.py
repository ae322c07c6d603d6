"""The numbers of a portserver: which is given next, and which process has which.

A number is given when it is unclaimed in the ledger, and unused for TCP and UDP on every local address when probed.  It
is claimed for its process then, so other callers of anyport keep away from it, and a server that is started again knows
whose it is.  The one that was given back longest ago is given next.

Rules for whoever edits it: the ledger is read and written under its lock, and nothing else is done there; a number is
in `_free` or in `owned`, never in both; and only a claim that is the process's own is renewed or forgotten.
"""

import time
from collections import deque

from anyport._address import TCP, UDP
from anyport._find.candidates import offer_of, out_of
from anyport._find.probe import Probe, endpoints
from anyport._hold.door import open_door
from anyport._ledger import keeper
from anyport._ledger.owner import is_claimed, is_seen_here
from anyport._ledger.record import LONGEST, NOTHING, PROCESS, process_of, record_in
from anyport._linux.sysctl import port_settings
from anyport._ports import QUIET, shuffled
from anyport.errors import NoUnusedPort

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import TypeVar

    from anyport._ledger.turns import Ledger
    from anyport._ports import PortSet
    from anyport.errors import Tell

    T = TypeVar("T")

_AT_HAND = 64  # candidates, before the ledger is read as a whole
_KEEP = LONGEST - 1_000_000  # microseconds that a claim lasts unless it is renewed: a day
RENEW = 3600.0  # seconds
SOON = 1.0  # seconds, while something is in the way: the claim of another, or the ledger can't be used
_AGAIN = 0.1  # seconds until all numbers are tried again, of which none could be had


class Pool:
    """Ports that are free, in the order in which they are tried, and those that processes have.

    `owned` has them by the field that stands for a process in the ledger.
    """

    def __init__(self, ports: "Iterable[int]", probe: "Probe", tell: "Tell", *, holding: bool = False) -> None:
        self._free = deque(ports)
        self._probe = probe
        self._namespace = probe.namespace()
        self._tell = tell
        self._holding = holding
        self._used_up_until = 0.0
        self.owned: dict[int, list[int]] = {}

    @property
    def free(self) -> int:
        """Return how many ports are given to nobody."""
        return len(self._free)

    @property
    def given(self) -> int:
        """Return how many ports processes have."""
        return sum(map(len, self.owned.values()))

    @property
    def descriptors(self) -> int:
        """Return how many descriptors it has open."""
        return len(self._probe.held)

    def give(self, owner: int) -> int:
        """Return a port, from now on that process's; 0 if there is none."""
        if time.monotonic() < self._used_up_until:
            return 0
        port = self._under_lock(lambda ledger: self._choose(ledger, owner))
        if port:
            self._free.remove(port)
            self.owned.setdefault(owner, []).append(port)
            self._hold(port)
        else:
            self._used_up_until = time.monotonic() + _AGAIN
        return port

    def _choose(self, ledger: "Ledger | None", owner: int) -> int:
        self._let_go_of_free()  # of one that was chosen when the ledger failed us, and is chosen anew now
        for port, record in self._candidates(ledger):
            if not self._probe.refusal(port):
                if ledger:
                    ledger.claim(port, _KEEP, PROCESS, owner, record)
                return port
        return 0

    def _let_go_of_free(self) -> None:
        if len(self._probe.held) > self.given:
            for port in self._probe.held.keys() & set(self._free):
                self._probe.let_go(port)

    def _candidates(self, ledger: "Ledger | None") -> "Iterator[tuple[int, bytes]]":
        """Yield what is not claimed; then, if nothing else is left, ports that callers of anyport were given lately."""
        for _ in range(min(_AT_HAND, len(self._free))):
            port = self._free[0]
            record = ledger.record(port) if ledger else NOTHING
            if not (ledger and is_claimed(record, ledger.now)):
                yield port, record
            self._free.rotate(-1)  # it can't be had now: those behind it come first next time
        rest = list(self._free)
        if ledger is None:
            yield from ((port, NOTHING) for port in rest)
            return
        for port, record in ledger.unclaimed_first(rest):
            if not (process_of(record) and is_claimed(record, ledger.now)):
                yield port, record

    def take_back(self, owners: "Iterable[int]") -> "list[tuple[int, int]]":
        """Free all that these processes had; return (owner, port) of each."""
        freed = [(owner, port) for owner in owners for port in self.owned.pop(owner, ())]
        self._free_all(freed)
        return freed

    def take_one_back(self, owner: int, port: int) -> None:
        """Free one port that the process never heard of."""
        ports = self.owned.get(owner, [])
        if port in ports:
            ports.remove(port)
            if not ports:
                del self.owned[owner]
            self._free_all([(owner, port)])

    def _free_all(self, freed: "list[tuple[int, int]]") -> None:
        for _, port in freed:
            self._probe.let_go(port)
        if freed:
            self._under_lock(lambda ledger: self._unclaim(ledger, freed))
            self._free.extend(port for _, port in freed)
            self._used_up_until = 0.0

    def _unclaim(self, ledger: "Ledger | None", freed: "list[tuple[int, int]]") -> None:
        for owner, port in freed if ledger else ():
            if ledger and process_of(ledger.record(port)) == owner:
                ledger.forget(port)

    def recall(self, adopt: "Callable[[int], bool | None]") -> int:
        """Take over what living processes have of these numbers from an earlier server; return how many.

        `adopt` watches a process by its field, and says whether it lives, or None if it can't be watched; nor can one
        of another pid namespace.  What such a one has stays claimed, and is neither given nor taken back.
        """
        slots = self._under_lock(lambda ledger: ledger.records() if ledger else b"")
        claims = [(process_of(record_in(slots, port)), port) for port in self._free if slots]
        dead: list[tuple[int, int]] = []
        for owner, port in claims:
            if not (owner and is_seen_here(owner)):
                continue
            lives = owner in self.owned or adopt(owner)
            if lives is None:
                continue
            if lives:
                self.owned.setdefault(owner, []).append(port)
                self._hold(port)
            else:
                dead.append((owner, port))
        taken = {port for ports in self.owned.values() for port in ports}
        self._free = deque(port for port in self._free if port not in taken)
        self._under_lock(lambda ledger: self._unclaim(ledger, dead))
        self.renew()  # that server may have been gone for most of a day
        return len(taken)

    def is_astray(self) -> bool:
        """Tell whether what processes have may not be claimed in the ledger that others use, and has to be renewed."""
        return bool(self.owned) and keeper.is_astray(self._namespace)

    def renew(self) -> bool:
        """Claim for another day what living processes have, also if the ledger has lost it; tell whether all is.

        What somebody else got since is left to him, until his claim is over.
        """
        return self._under_lock(self._renew)

    def _renew(self, ledger: "Ledger | None") -> bool:
        whole = ledger is not None and not ledger.alone
        for owner, ports in self.owned.items() if ledger else ():
            for port in ports:
                record = ledger.record(port) if ledger else NOTHING
                if ledger and (process_of(record) == owner or not is_claimed(record, ledger.now)):
                    ledger.claim(port, _KEEP, PROCESS, owner, record)
                else:
                    whole = False
        return whole

    def _hold(self, port: int) -> None:
        """Keep what was bound of it for TCP, with the door open; UDP servers hardly ever set SO_REUSEADDR."""
        if not self._holding:
            return
        if port not in self._probe.held:
            self._probe.refusal(port)  # of an earlier server: held again, if its process does not have it bound
        sockets = self._probe.held.get(port, [])
        for sock in [sock for sock in sockets if sock.type != TCP]:
            sockets.remove(sock)
            sock.close()
        open_door(sockets)

    def close(self) -> None:
        """Hold nothing any more; what was given stays claimed."""
        self._probe.close()

    def _under_lock(self, act: "Callable[[Ledger | None], T]") -> "T":
        def act_under_lock(ledger: "Ledger | None") -> "T":
            if ledger is None:
                return act(None)
            ledger.acquire()
            try:
                return act(ledger)
            finally:
                ledger.release()

        return keeper.with_ledger(self._namespace, self._tell, act_under_lock)


ADDRESS = "@unittest-portserver"  # where portpicker's own server is by default


def raise_limit() -> int:
    """Allow ourselves as many descriptors as we may have (RLIMIT_NOFILE, getrlimit(2)); return how many."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard if hard != resource.RLIM_INFINITY else 1 << 20


def pool_of(ports: "PortSet | None", tell: "Tell", *, holding: bool) -> Pool:
    """Make a pool of these numbers, or of the quiet range, in random order: two servers should begin differently."""
    probe = Probe(endpoints((), (TCP, UDP)), holding=holding)
    settings = port_settings(probe.namespace())
    offer = offer_of(settings)
    numbers = [port for port in QUIET if offer.is_quiet(port)] if ports is None else out_of(ports, offer)
    ephemeral = f"the ephemeral range {settings.low}-{settings.high}"
    if not numbers:
        what = f"{ephemeral} leaves no quiet range" if ports is None else f"no number of {ports} may be offered"
        raise NoUnusedPort(f"no port to serve: {what}", hint="name others, such as --pool 15000-24999")
    inside = sum(map(settings.is_ephemeral, numbers))
    if inside and not holding:
        danger = "the kernel may give them to other programs before yours bind them"
        hint = "a pool below it, such as 15000-24999, is safe from that; --hold is another way"
        tell("warning", f"{inside} of {len(numbers)} numbers lie in {ephemeral}: {danger}", hint)

    return Pool(shuffled(numbers), probe, tell, holding=holding)
