"""Candidates: which numbers are tried, in which order (pure: no socket, no file; chance comes in as bytes)."""

from anyport._ports import BAD_PORTS, QUIET, SERVICES, PortSet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from anyport._linux.sysctl import PortSettings


class Offer:
    """What may be offered unasked: no reserved, no bad port; and which of it lies in the quiet range."""

    __slots__ = ("_excluded", "_high", "_low", "_never", "_not_quiet", "has_quiet")

    def __init__(self, settings: "PortSettings", exclude: "Iterable[int]" = ()) -> None:
        self._low = settings.low
        self._high = settings.high
        self._excluded = frozenset(exclude)
        self._never = BAD_PORTS | settings.reserved | self._excluded
        self._not_quiet = self._never | SERVICES
        self.has_quiet = any(map(self.is_quiet, QUIET))

    def allows(self, port: int, *, named: bool = False) -> bool:
        """Tell whether the number may be offered; one that was named explicitly is kept back only if it is excluded."""
        return port not in (self._excluded if named else self._never)

    def is_quiet(self, port: int) -> bool:
        """Tell whether neither the kernel gives this number away nor a well-known service lives there."""
        return port in QUIET and not self._low <= port <= self._high and port not in self._not_quiet


_offers: "list[tuple[PortSettings, Offer]]" = []


def offer_of(settings: "PortSettings", exclude: "Iterable[int]" = ()) -> Offer:
    """Return the Offer of these settings; without exclusions it is kept, for making it takes as long as a probe."""
    excluded = frozenset(exclude)
    if excluded:
        return Offer(settings, excluded)
    for known, offer in _offers:
        if known is settings:
            return offer
    made = Offer(settings)
    _offers[:] = [(settings, made)]
    return made


def out_of(ports: PortSet, offer: Offer) -> "list[int]":
    """Return the members that may be offered; those written one by one are named explicitly, so they may."""
    return [port for port in ports if offer.allows(port, named=port in ports.named)]


def in_order_of_name(digest: bytes, is_ephemeral: "Callable[[int], bool]", offer: Offer) -> "Iterator[int]":
    """Yield the quiet range in an order that this name alone decides; what is ephemeral on this machine comes last.

    The order is that of the quiet range with the kernel's default settings, so it does not move when one changes.
    """
    seed = int.from_bytes(digest[:8], "little")
    step = int.from_bytes(digest[8:16], "little") % len(QUIET) | 1
    if step % 5 == 0:
        step += 2
    for last in (False, True):
        for turn in range(len(QUIET)):
            port = QUIET.start + (seed + turn * step) % len(QUIET)
            if is_ephemeral(port) is last and port not in SERVICES and offer.allows(port):
                yield port
