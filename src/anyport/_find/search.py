"""The search: numbers past the probe, until enough of them are unused."""

import os
from itertools import chain

from anyport._address import UDP
from anyport._find.candidates import offer_of
from anyport._find.probe import Probe, endpoints
from anyport._find.supply import Supply, Trials, steered
from anyport._ledger.record import NOTHING
from anyport._ledger.turns import Walk
from anyport._linux.sysctl import port_settings
from anyport._ports import QUIET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from anyport._address import Endpoint
    from anyport._find.blocks import Blocks
    from anyport._find.selection import Selection
    from anyport._find.supply import Offered
    from anyport._ledger.turns import Ledger
    from anyport._linux.sysctl import PortSettings


class Outcome:
    """What a search came to; nothing of it changes any more.

    `chosen` maps each port to its old record and the name it is claimed for (or 0), `refused` each number that a
    probe refused, or that was passed over because the kernel's table had it, to the endpoint and the errno; `moved`
    maps each label (or "") for which a name was not given its own number to that number.  `now` is the ledger's time,
    `name` the kind of name and the name itself, `exhausted` says that the kernel had no number left to give, `members`
    are the numbers of which blocks are made, and `may_lose_to_kernel` is whether the kernel may give a number of the
    ephemeral range away: a hold keeps it, but for UDP.
    """

    __slots__ = (
        "chosen", "endpoints", "exhausted", "holding", "is_complete", "may_lose_to_kernel", "members", "moved", "name",
        "now", "refused", "selection", "settings",
    )  # fmt: skip

    chosen: "Mapping[int, tuple[bytes, int]]"
    refused: "Mapping[int, tuple[Endpoint, int]]"
    moved: "Mapping[str, int]"
    selection: "Selection"
    settings: "PortSettings"
    endpoints: "tuple[Endpoint, ...]"
    name: "tuple[str, str]"
    members: "frozenset[int]"
    now: int
    exhausted: bool
    holding: bool
    is_complete: bool
    may_lose_to_kernel: bool

    def __init__(self, **fields: object) -> None:
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"an outcome does not change: {name}")


class Search:
    """A selection on its way to an outcome.  With `holding` the probe keeps what it binds.

    `walk` is its way through the quiet range, which may end for want of a survey of the ledger.
    """

    def __init__(self, selection: "Selection", *, holding: bool = False) -> None:
        self.selection = selection
        self._holding = holding
        self._chosen: dict[int, tuple[bytes, int]] = {}
        self._moved: dict[str, int] = {}
        self.probe = Probe(endpoints(selection.hosts, selection.kinds), holding=holding)
        try:
            self.namespace = self.probe.namespace()
            self._settings = port_settings(self.namespace)
            self._offer = offer_of(self._settings, selection.exclude)
            self.walk = Walk(self._offer.is_quiet)
            self._trials = Trials(self.probe)
            self._supply = Supply(selection, self._trials, self._settings, self._offer, self.walk)
            # Here, and not under the ledger's lock: both may take a while.
            self._name = _name(selection)
            self._members = self._block_members() if selection.contiguous else frozenset[int]()
        except BaseException:
            self.probe.close()
            raise

    def make(self, ledger: "Ledger | None") -> Outcome:
        """Choose as many unused ports as were asked for; without a ledger nothing is known of claims."""
        self._trials.clear()
        self._chosen.clear()
        self._moved.clear()
        selection, count = self.selection, self.selection.count
        if selection.contiguous:
            self._choose_block(ledger)
        else:
            if selection.preferred:
                self._add(self._supply.named_outright(ledger), count, leftovers=not selection.strict)
            if selection.base == "name":
                self._choose_by_name(ledger)
            elif not selection.only:
                self._add(self._supply.of_base(ledger), count)
        self._trials.let_go(self.probe.held.keys() - self._chosen.keys())
        return self._outcome(ledger.now if ledger else 0)

    def _outcome(self, now: int) -> Outcome:
        selection, supply = self.selection, self._supply
        is_complete = len(self._chosen) == selection.count
        refused = self._trials.refusals()
        if supply.bound:
            refused.update(supply.passed_over(max(self._chosen) if is_complete else None))
        return Outcome(
            chosen=dict(self._chosen), refused=refused, moved=dict(self._moved), selection=selection,
            settings=self._settings, endpoints=self.probe.endpoints, name=self._name, members=self._members, now=now,
            exhausted=supply.exhausted, holding=self._holding, is_complete=is_complete,
            may_lose_to_kernel=not self._holding or UDP in selection.kinds,
        )  # fmt: skip

    def _add(self, offered: "Offered", most: int, *, name: int = 0, leftovers: bool = False) -> None:
        if len(self._chosen) < most:
            for port, record in offered:
                if port not in self._chosen and self._trials.is_unused(port, leftovers=leftovers):
                    self._chosen[port] = record, name
                    if len(self._chosen) == most:
                        return

    def _choose_by_name(self, ledger: "Ledger | None") -> None:
        from anyport._find.candidates import in_order_of_name
        from anyport._find.names import digest

        selection, (kind, name) = self.selection, self._name
        for label in selection.labels or ("",):
            known_by = digest(kind, name, label, os.geteuid())
            order = in_order_of_name(known_by, self._settings.is_ephemeral, self._offer)
            first = next(order, None)
            if first is None:
                return
            owner = int.from_bytes(known_by[16:], "little")
            offered = steered(ledger, chain((first,), () if selection.only else order), owner)
            before = len(self._chosen)
            most = before + 1 if selection.labels else selection.count
            self._add(offered, most, name=owner, leftovers=not selection.strict)
            if first not in list(self._chosen)[before:]:
                self._moved[label] = first

    def _choose_block(self, ledger: "Ledger | None") -> None:
        """Choose consecutive numbers."""
        for start in self._blocks().starts(ledger):
            block = range(start, start + self.selection.count)
            if all(self._trials.is_unused(port) for port in block):
                self._chosen.update((port, (ledger.record(port) if ledger else NOTHING, 0)) for port in block)
                return
            self._trials.let_go(block)

    def _blocks(self) -> "Blocks":
        from anyport._find.blocks import Blocks

        return Blocks(self.selection, self._offer, self._members)

    def _block_members(self) -> "frozenset[int]":
        """Return the numbers that blocks are made of."""
        if self.selection.base != "quiet":
            return frozenset(self._supply.candidates())
        settings = self._settings
        quiet = frozenset(filter(self._offer.is_quiet, QUIET))
        return quiet or frozenset(filter(self._offer.allows, range(settings.low, settings.high + 1)))


def _name(selection: "Selection") -> "tuple[str, str]":
    """Return what the order of the numbers hangs on, if it is one by name: the kind of name, and the name."""
    if not selection.here:
        return "name", selection.name or ""
    from anyport._find.names import work_tree

    return "here", work_tree()
