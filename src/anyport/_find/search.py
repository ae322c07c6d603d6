"""The choice: candidates in their order, past the ledger and the probe, until enough of them are unused."""

import os
from errno import EADDRINUSE
from itertools import chain, islice

from anyport._address import TCP, UDP
from anyport._find.blocks import by_newest, starts_of
from anyport._find.candidates import in_order_of_name, offer_of, out_of
from anyport._find.probe import Probe, endpoints
from anyport._ledger.owner import is_claimed, lives
from anyport._ledger.record import NOTHING, claims_in, name_of
from anyport._ledger.turns import by_turn, unclaimed_first
from anyport._linux.sysctl import port_settings
from anyport._ports import LAST, QUIET, quiet_at, shuffled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from anyport._address import Endpoint
    from anyport._find.selection import Selection
    from anyport._ledger.book import Book
    from anyport._ledger.turns import Survey

    Offered = Iterable[tuple[int, bytes]]  # ports, each with its record in the ledger

_FIRST_STARTS = 32  # of blocks, tried before the ledger is read as a whole
# Draws of the kernel, after which an unclaimed number is bound outright.  Going on to draw, and keeping the refused
# sockets open so that others come, would stand in the way of those for whom the numbers are claimed: in a range of 200
# their binds were refused 267 times of 2,284.
_DRAWS = 8
_MET = 256  # refusals, after which the kernel's table tells what need not be tried: half the time of 20,000 binds


class Choice:
    """A selection on its way to an answer.

    `chosen` maps each port to its old record and the name it is claimed for (or 0), `tried` each number that was probed
    to None, or to the endpoint and errno of the refusal (`met` counts those), `moved` each label (or "") for which a
    name was not given its own number to that number.  `now` is the ledger's time, `bound` what the kernel's table was
    seen to hold, `exhausted` says that the kernel had no number left to give, and `seen` is a survey of the ledger,
    where one was needed.  With `holding` the probe keeps what it binds.
    """

    def __init__(self, selection: "Selection", *, holding: bool = False) -> None:
        self.selection = selection
        self.holding = holding
        self.chosen: dict[int, tuple[bytes, int]] = {}
        self.tried: dict[int, tuple[Endpoint, int] | None] = {}
        self.met = 0
        self.bound: set[int] = set()
        self.exhausted = False
        self.moved: dict[str, int] = {}
        self.now = 0
        self.seen: Survey | None = None
        self.probe = Probe(endpoints(selection.hosts, selection.kinds), holding=holding)
        try:
            self.namespace = self.probe.namespace()
            self.settings = port_settings(self.namespace)
            self.offer = offer_of(self.settings, selection.exclude)
            # Here, and not under the ledger's lock: both may take a while.
            self.name = _name(selection)
            self.block_members = self._block_members() if selection.contiguous else frozenset[int]()
        except BaseException:
            self.probe.close()
            raise

    def make(self, book: "Book | None") -> bool:
        """Choose as many unused ports as were asked for, or say False; without a book nothing is known of claims."""
        self._let_go(list(self.probe.held))
        self.chosen.clear()
        self.tried.clear()
        self.moved.clear()
        self.now = book.now if book else 0
        selection, count = self.selection, self.selection.count
        if selection.contiguous:
            self._choose_block(book)
        else:
            if selection.preferred:
                self._add(self._named_outright(book), count, leftovers=not selection.strict)
            if selection.base == "name":
                self._choose_by_name(book)
            elif not selection.only:
                self._add(self._from_base(book), count)
        self._let_go(self.probe.held.keys() - self.chosen.keys())
        return len(self.chosen) == count

    @property
    def refused(self) -> "dict[int, tuple[Endpoint, int]]":
        """The numbers that were probed in vain, or passed over for the kernel's table had them."""
        found = {port: refusal for port, refusal in self.tried.items() if refusal}
        if self.bound and self.selection.start is not None:
            passed = range(
                self.selection.start, max(self.chosen) if len(self.chosen) == self.selection.count else LAST + 1
            )
            in_use = (self.probe.endpoints[0], EADDRINUSE)
            found.update((port, in_use) for port in self.bound if port in passed and port not in self.tried)
        return found

    @property
    def may_lose_to_kernel(self) -> bool:
        """Whether the kernel may give a number of the ephemeral range away: a hold keeps it, but for UDP."""
        return not self.holding or UDP in self.selection.kinds

    def name_kept(self, port: int, record: bytes) -> int:
        """The name that a number is still claimed for (or 0) if it was named outright: most likely by the same user."""
        return name_of(record) if port in self.selection.preferred and is_claimed(record, self.now) else 0

    def _add(self, offered: "Offered", most: int, *, name: int = 0, leftovers: bool = False) -> None:
        if len(self.chosen) < most:
            for port, record in offered:
                if port not in self.chosen and self._is_unused(port, leftovers=leftovers):
                    self.chosen[port] = record, name
                    if len(self.chosen) == most:
                        return

    def _is_unused(self, port: int, *, leftovers: bool = False) -> bool:
        if port not in self.tried:
            refusal = self.tried[port] = self.probe.refusal(port, leftovers=leftovers)
            self.met += bool(refusal)
        return self.tried[port] is None

    def _let_go(self, ports: "Iterable[int]") -> None:
        """Hold these no longer (if anything is held at all); whether they are unused must be asked anew."""
        for port in ports:
            if port in self.probe.held:
                self.probe.let_go(port)
                del self.tried[port]

    def _named_outright(self, book: "Book | None") -> "Offered":
        for port in self.selection.preferred:
            if self.offer.allows(port, named=True):
                yield port, book.record(port) if book else NOTHING

    def _from_base(self, book: "Book | None") -> "Offered":
        base = self.selection.base
        if base == "quiet":
            # Where the ephemeral range leaves no quiet number, or none is unused, there is still the kernel's choice.
            return chain(self._quiet(book), self._drawn(book)) if self.offer.has_quiet else self._drawn(book)
        if base == "ephemeral":
            return self._drawn(book)
        return _steered(book, self._candidates())

    def _quiet(self, book: "Book | None") -> "Offered":
        if book:
            return by_turn(book, self.offer.is_quiet, self.seen)
        start = int.from_bytes(os.urandom(4), "little")
        return _steered(None, filter(self.offer.is_quiet, map(quiet_at, range(start, start + len(QUIET)))))

    def _candidates(self) -> "Iterable[int]":
        selection = self.selection
        if selection.start is not None:
            return filter(self.offer.allows, self._past_bound(range(selection.start, LAST + 1)))
        numbers = out_of(selection.ports, self.offer) if selection.ports else []
        return numbers if selection.order == "ascending" else shuffled(numbers)

    def _past_bound(self, numbers: "Iterable[int]") -> "Iterator[int]":
        """Leave out, once many were refused, what the kernel's table says is bound: every bind of those would fail."""
        endpoint, bound = self.probe.endpoints[0], self.bound
        loaded = not (endpoint.everywhere and endpoint.kind == TCP)  # elsewhere another address may be meant
        for port in numbers:
            if not loaded and self.met > _MET:
                loaded = True
                self.bound.update(_bound_tcp_ports())
            if port not in bound:
                yield port

    def _drawn(self, book: "Book | None") -> "Offered":
        """What the kernel gives for port 0; once it has given claimed numbers only, an unclaimed one of its range.

        Nothing when it has none left to give.
        """
        for _ in range(_DRAWS):
            try:
                sock, port = self.probe.draw()
            except OSError as error:
                if error.errno != EADDRINUSE:
                    raise
                self.exhausted = True
                return
            sock.close()
            record = book.record(port) if book else NOTHING
            usable = port not in self.chosen and port not in self.tried and self.offer.allows(port)
            if usable and not (book and is_claimed(record, book.now)):
                yield port, record
        low, high = self.settings.low, self.settings.high
        yield from _steered(book, shuffled(list(filter(self.offer.allows, range(low, high + 1)))))

    def _choose_by_name(self, book: "Book | None") -> None:
        from anyport._find.names import digest

        selection, (kind, name) = self.selection, self.name
        for label in selection.labels or ("",):
            known_by = digest(kind, name, label, os.geteuid())
            order = in_order_of_name(known_by, self.settings.is_ephemeral, self.offer)
            first = next(order, None)
            if first is None:
                return
            owner = int.from_bytes(known_by[16:], "little")
            offered = _steered(book, chain((first,), () if selection.only else order), owner)
            before = len(self.chosen)
            most = before + 1 if selection.labels else selection.count
            self._add(offered, most, name=owner, leftovers=not selection.strict)
            if first not in list(self.chosen)[before:]:
                self.moved[label] = first

    def _choose_block(self, book: "Book | None") -> None:
        """Consecutive numbers: an unused and unclaimed block, else the one in which nothing was given out lately."""
        for start in self._block_starts(book):
            block = range(start, start + self.selection.count)
            if all(self._is_unused(port) for port in block):
                self.chosen.update((port, (book.record(port) if book else NOTHING, 0)) for port in block)
                return
            self._let_go(block)

    def _block_starts(self, book: "Book | None") -> "Iterator[int]":
        yield from self._preferred_starts()
        if self.selection.only:
            return
        count, members = self.selection.count, self.block_members
        in_order = shuffled(list(members)) if self._is_random() else iter(sorted(members))
        for start in islice(in_order, _FIRST_STARTS):  # most often one of these will do; the rest is long work
            block = range(start, start + count)
            if members.issuperset(block) and not (book and any(is_claimed(book.record(p), self.now) for p in block)):
                yield start
        ages = claims_in(book.records(), self.now, lives) if book else {}
        starts = starts_of(members - ages.keys(), count)
        yield from shuffled(starts) if self._is_random() else reversed(starts)
        yield from by_newest(starts_of(members, count), count, ages) if ages else ()

    def _preferred_starts(self) -> "Iterator[int]":
        for start in self.selection.preferred:
            rest = range(start + 1, start + self.selection.count)
            if self.offer.allows(start, named=True) and start + len(rest) <= LAST and all(map(self.offer.allows, rest)):
                yield start

    def _block_members(self) -> "frozenset[int]":
        """The numbers that blocks are made of."""
        if self.selection.base != "quiet":
            return frozenset(self._candidates())
        settings = self.settings
        quiet = frozenset(filter(self.offer.is_quiet, QUIET))
        return quiet or frozenset(filter(self.offer.allows, range(settings.low, settings.high + 1)))

    def _is_random(self) -> bool:
        return self.selection.start is None and self.selection.order == "random"


def _steered(book: "Book | None", candidates: "Iterable[int]", name: int = 0) -> "Offered":
    if book is None:
        return ((port, NOTHING) for port in candidates)
    return unclaimed_first(book, candidates, name)


def _bound_tcp_ports() -> "set[int]":
    from anyport._linux.sock_diag import bound_tcp_ports

    try:
        return bound_tcp_ports()
    except OSError:  # netlink is refused in some sandboxes: then every number is tried
        return set()


def _name(selection: "Selection") -> "tuple[str, str]":
    """What the order of the numbers hangs on, if it is one by name: the kind of name, and the name."""
    if not selection.here:
        return "name", selection.name or ""
    from anyport._find.names import work_tree

    return "here", work_tree()
