"""What the caller is told: why there is no answer, or why it is not the expected one."""

from errno import EACCES, EADDRINUSE

from anyport._find import facts
from anyport._find.blocks import longest_run
from anyport._ports import QUIET
from anyport.errors import NoUnusedPort

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from anyport._find.facts import Fact
    from anyport._find.search import Outcome
    from anyport._linux.sysctl import PortSettings
    from anyport._occupant import Refusal
    from anyport.errors import Tell


_WORDS = {
    facts.EXCLUDED: "excluded",
    facts.IN_USE: "in use",
    facts.NOT_PERMITTED: "not permitted",
    facts.NOT_TO_BE_BOUND: "not to be bound",
    facts.OTHER_LABEL: "that of another label, too",
    facts.CLAIMED: "claimed by another caller",
}  # fmt: skip


def remark(outcome: "Outcome", told: "Iterable[Fact]", tell: "Tell") -> None:
    """Tell these facts."""
    for fact in told:
        _TELLERS[fact.kind](outcome, fact, tell)


def _on_passed_over(outcome: "Outcome", fact: "Fact", tell: "Tell") -> None:
    are = "is" if len(fact.ports) == 1 else "are"
    tell("note", f"{some(fact.ports)} {are} {_reason(outcome, fact)}; {_gave(outcome)}", _who_shows(fact))


def _on_moved(outcome: "Outcome", fact: "Fact", tell: "Tell") -> None:
    whose = f"{fact.ports[0]}, the number of {_named(outcome, fact.label)}, is {_reason(outcome, fact)}"
    tell("note", f"{whose}; {_gave(outcome)}", _who_shows(fact))


def _on_served(_outcome: "Outcome", fact: "Fact", tell: "Tell") -> None:
    whose = f"a portserver gave {fact.ports[0]} to process {fact.number:.0f}"
    tell("note", f"{whose}: all that was asked for is claimed", "")


def _on_given_out(_outcome: "Outcome", fact: "Fact", tell: "Tell") -> None:
    were = "was" if len(fact.ports) == 1 else "were"
    when = f"{some(fact.ports)} {were} given out {fact.number:.1f} s ago"
    tell("note", f"{when}: all that was asked for is claimed", "")


def _on_range(outcome: "Outcome", fact: "Fact", tell: "Tell") -> None:
    selection, settings, inside = outcome.selection, outcome.settings, fact.ports
    text, danger = _lie_in_range(inside, settings), _kernel_may_give(inside)
    if outcome.holding:
        danger = f"for UDP the kernel may give {_them(inside)} to a program that sets SO_REUSEADDR and binds port 0"
    preferred = set(selection.preferred)  # of a block the first number
    named = preferred & set(inside) if selection.contiguous else preferred >= set(inside)
    if named or selection.base in ("ephemeral", "from", "in"):
        tell("note", f"{text}: {danger}", "")
    elif settings.low <= QUIET.start and QUIET[-1] <= settings.high:
        hint = "`sysctl -w net.ipv4.ip_local_port_range='32768 60999'` makes a quiet range"
        tell("warning", f"{text}, which leaves no quiet range: {danger}", hint)
    else:
        tell("warning", f"{text}, for too few ports of the quiet range are unused and allowed: {danger}", "")


_TELLERS: "dict[str, Callable[[Outcome, Fact, Tell], None]]" = {
    facts.PASSED_OVER: _on_passed_over,
    facts.MOVED: _on_moved,
    facts.SERVED: _on_served,
    facts.GIVEN_OUT: _on_given_out,
    facts.IN_RANGE: _on_range,
}


def _gave(outcome: "Outcome") -> str:
    return f"gave {some(list(outcome.chosen))}"


def _reason(outcome: "Outcome", fact: "Fact") -> str:
    if fact.reason == facts.NOT_FIRST:
        return f"not the first of {outcome.selection.count} ports in a row that are unused and may be offered"
    return _WORDS[fact.reason]


def _named(outcome: "Outcome", label: str) -> str:
    name = outcome.name[1]
    return f"{name!r} {label!r}" if label else repr(name)


def _who_shows(fact: "Fact") -> str:
    return f"`anyport who {fact.ports[0]}` shows what is using it" if fact.reason == facts.IN_USE else ""


def remark_on_served(ports: "list[int]", tell: "Tell") -> None:
    """Tell which ports of a portserver, whose pool may lie anywhere, the kernel may give away."""
    from anyport._linux.socket import own_netns_cookie
    from anyport._linux.sysctl import port_settings

    settings = port_settings(own_netns_cookie())
    if inside := [port for port in ports if settings.is_ephemeral(port)]:
        danger = f"unless the portserver holds {_them(inside)}, {_kernel_may_give(inside)}"
        tell("note", f"{_lie_in_range(inside, settings)}: {danger}", "")


def _lie_in_range(ports: "list[int]", settings: "PortSettings") -> str:
    lie = "lies" if len(ports) == 1 else "lie"
    return f"{some(ports)} {lie} in the ephemeral range {settings.low}-{settings.high}"


def _kernel_may_give(ports: "list[int]") -> str:
    them = _them(ports)
    return f"the kernel may give {them} to another program before yours binds {them}"


def _them(ports: "list[int]") -> str:
    return "it" if len(ports) == 1 else "them"


def no_unused_port(outcome: "Outcome") -> NoUnusedPort:
    """Return the error that says what was asked for, what was tried, and who has it."""
    from anyport._who.occupants import explain

    selection = outcome.selection
    refusals = explain([(port, *refused) for port, refused in sorted(outcome.refused.items())])
    if selection.only and len(refusals) == selection.count == 1:
        message = str(refusals[0])
    else:
        what = "no unused port" if selection.count == 1 else f"no {selection.count} unused ports"
        in_a_row = " in a row" if selection.contiguous else ""
        message = f"{what}{in_a_row} {_asked_for(outcome)}: {_outcome(outcome)}"
    errno = refusals[0].errno if refusals else EADDRINUSE
    return NoUnusedPort(message, hint=_way_out(outcome, refusals), errno=errno, refusals=refusals)


def _asked_for(outcome: "Outcome") -> str:
    selection, settings = outcome.selection, outcome.settings
    ephemeral = f"the ephemeral range {settings.low}-{settings.high}"
    if selection.base == "name":
        return f"for {', '.join(_named(outcome, label) for label in selection.labels or ('',))}"
    if selection.ports:
        return f"among {selection.ports}"
    if selection.start:
        return f"from {selection.start} on"
    if selection.only:
        return f"among {some(list(selection.preferred))}"
    if selection.base == "ephemeral":
        return f"in {ephemeral}"
    return "in the quiet range" if selection.contiguous else f"in the quiet range and {ephemeral}"


def _outcome(outcome: "Outcome") -> str:
    """Say what came of it, in numbers; and the cause where no bind was even tried."""
    count, refused = outcome.selection.count, len(outcome.refused)
    found = f"{len(outcome.chosen)} found, " if count > 1 and not outcome.selection.contiguous else ""
    if outcome.selection.contiguous and not refused:
        return f"the longest run of such numbers is {longest_run(outcome.members)}"
    if refused:
        return f"{found}{refused} tried, none available"
    if outcome.exhausted:
        return f"{found}the kernel has none left to give (bind of port 0: EADDRINUSE)"
    if outcome.chosen:
        return f"{len(outcome.chosen)} found, and no other number may be offered"
    return "all are excluded, in net.ipv4.ip_local_reserved_ports, or refused by browsers"


def _way_out(outcome: "Outcome", refusals: "Sequence[Refusal]") -> str:
    selection = outcome.selection
    states = {occupant.state for refusal in refusals for occupant in refusal.occupants}
    if any(refusal.errno == EACCES for refusal in refusals):
        return "ask for a higher number, run as root, or lower that limit: it is a sysctl"
    if selection.strict and states == {"TIME_WAIT"}:
        return "without --strict it counts as unused if a server with SO_REUSEADDR can bind it"
    if not (refusals or outcome.exhausted or selection.contiguous):
        return "a number that is named by itself, not in a range, and not excluded is given all the same"
    if selection.only:
        return "leave --only out to get another one"
    if selection.ports or selection.start:
        return "widen the range, or leave it out to get any unused port"
    return "ask for fewer" if selection.count > 1 else "`anyport doctor` shows what uses them up"


def some(ports: "list[int]") -> str:
    """Write the first few numbers, and how many more there are."""
    text = ", ".join(map(str, ports[:3]))
    return text if len(ports) <= 3 else f"{text} and {len(ports) - 3} more"
