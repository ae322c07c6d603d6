"""The answer: a choice, claimed in the ledger, and what the caller should be told of it.

Told are warnings (a promise that the caller did not give up is gone) and notes (the answer is not the expected one).
"""

from errno import EACCES, EADDRINUSE

from anyport._choice import Choice
from anyport._ledger import keeper
from anyport._ledger.record import GIVEN, NAME, given_at, is_claimed
from anyport.errors import LedgerError, NoUnusedPort

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from anyport._ledger.book import Book
    from anyport._refusal import Refusal
    from anyport._selection import Selection

    Tell = Callable[[str, str, str], None]  # "warning" or "note", the message, a hint or an empty text


class Answer:
    """The ports, in the order of the labels, and what was refused on the way to them (looked up when asked for)."""

    def __init__(self, choice: Choice) -> None:
        self.ports = list(choice.chosen)
        self.hosts = list(dict.fromkeys(host for endpoint in choice.probe.endpoints for host in endpoint.hosts))
        self.protocols = list(dict.fromkeys(endpoint.protocol for endpoint in choice.probe.endpoints))
        self.was_refused = bool(choice.refused)
        self._choice = choice

    def refusals(self) -> "list[Refusal]":
        from anyport._occupants import explain

        return explain([(port, *refused) for port, refused in self._choice.refused.items()])


def answer(selection: "Selection", tell: "Tell") -> Answer:
    """Choose and claim; NoUnusedPort if there are too few."""
    choice = Choice(selection)
    try:
        found = _choose_and_claim(choice, tell) if selection.keep else choice.make(None)
    finally:
        choice.probe.close()
    if not found:
        raise _no_unused_port(choice)
    _remark(choice, tell)
    return Answer(choice)


def _choose_and_claim(choice: Choice, tell: "Tell") -> bool:
    def warn(message: str, hint: str) -> None:
        tell("warning", message, hint)

    book = keeper.book(choice.namespace, warn)
    try:
        return _under_lock(choice, book)
    except LedgerError as error:
        spare = keeper.replacement(choice.namespace, book, error, warn)
        return _under_lock(choice, spare) if spare else choice.make(None)


def _under_lock(choice: Choice, book: "Book") -> bool:
    book.acquire()
    try:
        found = choice.make(book)
        if found:
            keep = int(choice.selection.keep * 1_000_000)
            for port, (record, name) in choice.chosen.items():
                book.claim(port, keep, NAME if name else GIVEN, name or book.now, record)
    finally:
        book.release()
    return found


def _remark(choice: Choice, tell: "Tell") -> None:
    gave = f"gave {_some(list(choice.chosen))}"
    for port in choice.selection.preferred:
        if port in choice.refused or port in choice.selection.exclude:
            tell("note", f"{port} {_why_not(choice, port)}; {gave}", f"`anyport --only {port}` says more")
    for port, name in choice.expected.items():
        if port not in choice.chosen:
            tell("note", f"{port}, the number of {name}, {_why_not(choice, port)}; {gave}", "")
    _remark_on_age(choice, tell)
    _remark_on_range(choice, tell)


def _why_not(choice: Choice, port: int) -> str:
    if port in choice.refused:
        errno = choice.refused[port][1]
        return "is in use" if errno == EADDRINUSE else "is not permitted" if errno == EACCES else "can't be bound"
    return "is excluded" if port in choice.selection.exclude else "was given to another caller just now"


def _remark_on_age(choice: Choice, tell: "Tell") -> None:
    """Say so when a number was given out although somebody else had been given it and may be about to use it."""
    given = {
        port: (choice.now - given_at(record)) / 1_000_000
        for port, (record, name) in choice.chosen.items()
        if port not in choice.selection.preferred and is_claimed(record, choice.now, name)
    }
    if given:
        age = max(0.0, min(given.values()))
        text = f"{_some(list(given))} was given out {age:.1f} s ago already: every unused number asked for has been"
        tell("note", text, "")


def _remark_on_range(choice: Choice, tell: "Tell") -> None:
    """Say so when the kernel may give the number away (DESIGN: the second row of the promise table)."""
    settings = choice.settings
    inside = [port for port in choice.chosen if settings.is_ephemeral(port)]
    if inside:
        text = f"{_some(inside)} lies in the ephemeral range {settings.low}-{settings.high}"
        danger = "the kernel may give it to another program before yours binds it"
        if choice.selection.base != "quiet" or choice.selection.preferred:
            tell("note", f"{text}: {danger}", "")
        elif choice.offer.has_quiet():
            tell("warning", f"{text}, for no port of the quiet range is unused: {danger}", "")
        else:
            hint = "`sysctl -w net.ipv4.ip_local_port_range='32768 60999'` makes a quiet range"
            tell("warning", f"{text}, which leaves no quiet range: {danger}", hint)


def _some(ports: "list[int]") -> str:
    text = ", ".join(map(str, ports[:3]))
    return text if len(ports) <= 3 else f"{text} and {len(ports) - 3} more"


def _no_unused_port(choice: Choice) -> NoUnusedPort:
    from anyport._occupants import explain

    refusals = explain([(port, *refused) for port, refused in sorted(choice.refused.items())])
    count = choice.selection.count
    what = "no unused port" if count == 1 else f"no {count} unused ports"
    if choice.selection.contiguous:
        what += " in a row"
    if not refusals:
        reason, hint = _why_none_tried(choice)
        return NoUnusedPort(f"{what} {_asked_for(choice)}: {reason}", hint=hint, errno=EADDRINUSE)
    if choice.selection.only and len(refusals) == 1:
        message = str(refusals[0])
    else:
        message = f"{what} {_asked_for(choice)}: {len(refusals)} tried"
    return NoUnusedPort(message, hint=_way_out(choice, refusals), errno=refusals[0].errno, refusals=refusals)


def _asked_for(choice: Choice) -> str:
    selection, settings = choice.selection, choice.settings
    if selection.base == "name":
        return f"for {', '.join(choice.expected.values()) or 'this name'}"
    if selection.ports:
        return f"among {selection.ports}"
    if selection.start:
        return f"from {selection.start} on"
    if selection.base == "ephemeral":
        return f"in the ephemeral range {settings.low}-{settings.high}"
    if selection.only:
        return f"among {', '.join(map(str, selection.preferred))}"
    return f"in the quiet range and the ephemeral range {settings.low}-{settings.high}"


def _why_none_tried(choice: Choice) -> "tuple[str, str]":
    if choice.selection.base in ("ephemeral", "quiet") and not choice.selection.only:
        return "the kernel has none left to give (bind to port 0: EADDRINUSE)", "`ss -s` shows what uses them up"
    return (
        "all are excluded, in net.ipv4.ip_local_reserved_ports, or refused by browsers",
        "a number that is named by itself, not in a range, is given all the same",
    )


def _way_out(choice: Choice, refusals: "list[Refusal]") -> str:
    if any(refusal.errno == EACCES for refusal in refusals):
        return "ask for a higher number, run as root, or lower that limit: it is a sysctl"
    if choice.selection.strict and all(each.state == "TIME_WAIT" for every in refusals for each in every.occupants):
        return "a server that sets SO_REUSEADDR can bind it: leave --strict out"
    if choice.selection.only:
        return "leave --only out to get another one"
    return "widen the range, or leave it out to get any unused port"
