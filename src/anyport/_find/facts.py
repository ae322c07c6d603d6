"""The facts that a caller is told of an outcome that is not the expected one (pure; `remarks` has the words for them).

Not expected are: other numbers than those that were named, a name that did not get its own number, a number that
somebody else was given before and may be about to use, and one that the kernel may give away.  Nothing else is told.
"""

from errno import EACCES, EADDRINUSE

from anyport._ledger.owner import is_claimed
from anyport._ledger.record import given_at, process_of, unpack_process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from anyport._find.search import Outcome

# Kinds of facts.
PASSED_OVER, MOVED, SERVED, GIVEN_OUT, IN_RANGE = "passed over", "moved", "served", "given out", "in range"
# Why a number was not given.
EXCLUDED, NOT_FIRST, OTHER_LABEL, CLAIMED = "excluded", "not first", "other label", "claimed"
IN_USE, NOT_PERMITTED, NOT_TO_BE_BOUND = "in use", "not permitted", "not to be bound"


class Fact:
    """One thing to be told: its kind, the ports that it is about, why, and of which label.

    `number` is the pid that the port was served to, or the seconds since the youngest of the ports was given out.
    """

    __slots__ = ("kind", "label", "number", "ports", "reason")

    def __init__(self, kind: str, ports: "list[int]", *, reason: str = "", label: str = "", number: float = 0) -> None:
        self.kind = kind
        self.ports = ports
        self.reason = reason
        self.label = label
        self.number = number


def facts(outcome: "Outcome") -> "list[Fact]":
    """Return what is to be told of this outcome; nothing in the usual case."""
    return [*_passed_over(outcome), *_moved(outcome), *_claimed(outcome), *_in_range(outcome)]


def refusal_reason(outcome: "Outcome", port: int) -> str:
    """Return why the bind of this number was refused."""
    errno = outcome.refused[port][1]
    return IN_USE if errno == EADDRINUSE else NOT_PERMITTED if errno == EACCES else NOT_TO_BE_BOUND


def _passed_over(outcome: "Outcome") -> "list[Fact]":
    """Return the preferred numbers that were not given, by reason."""
    selection, found = outcome.selection, dict[str, list[int]]()
    for port in selection.preferred:
        if port in selection.exclude:
            found.setdefault(EXCLUDED, []).append(port)
        elif port in outcome.refused:
            found.setdefault(refusal_reason(outcome, port), []).append(port)
        elif selection.contiguous and port not in outcome.chosen:
            found.setdefault(NOT_FIRST, []).append(port)
    return [Fact(PASSED_OVER, ports, reason=reason) for reason, ports in found.items()]


def _moved(outcome: "Outcome") -> "Iterator[Fact]":
    """Yield the labels of a name that were not given their own number, unless a preferred one was given."""
    if outcome.moved and not outcome.chosen.keys() & set(outcome.selection.preferred):
        for label, own in outcome.moved.items():
            yield Fact(MOVED, [own], reason=_why_moved(outcome, own), label=label)


def _why_moved(outcome: "Outcome", port: int) -> str:
    if port in outcome.chosen:
        return OTHER_LABEL
    return refusal_reason(outcome, port) if port in outcome.refused else CLAIMED


def _claimed(outcome: "Outcome") -> "Iterator[Fact]":
    """Yield what somebody else was given before: by a portserver, which keeps it, or else some time ago."""
    claims = {port: record for port, (record, name) in outcome.chosen.items() if is_claimed(record, outcome.now, name)}
    named = set(outcome.selection.preferred)  # decided by the bind alone, and so is the block that begins with it
    if not claims or named & (set(outcome.chosen) if outcome.selection.contiguous else set(claims)):
        return
    served = {port: unpack_process(owner)[0] for port, record in claims.items() if (owner := process_of(record))}
    for port, pid in served.items():
        yield Fact(SERVED, [port], number=pid)
    ages = {port: (outcome.now - given_at(record)) / 1_000_000 for port, record in claims.items() if port not in served}
    if ages:
        yield Fact(GIVEN_OUT, list(ages), number=max(0.0, min(ages.values())))


def _in_range(outcome: "Outcome") -> "Iterator[Fact]":
    """Yield what the kernel may give away: the second row of the promise table does not hold for it."""
    if outcome.may_lose_to_kernel:
        inside = [port for port in outcome.chosen if outcome.settings.is_ephemeral(port)]
        if inside:
            yield Fact(IN_RANGE, inside)
