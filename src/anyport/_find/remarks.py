"""What the caller is told: why there is no answer, or why it is not the expected one."""

from errno import EACCES, EADDRINUSE

from anyport._find.blocks import longest_run
from anyport._ledger.owner import is_claimed
from anyport._ledger.record import given_at, process_of, unpack_process
from anyport._ports import QUIET
from anyport.errors import NoUnusedPort

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anyport._find.search import Choice
    from anyport._linux.sysctl import PortSettings
    from anyport._occupant import Refusal

    Tell = Callable[[str, str, str], None]  # "warning" or "note", the message, a hint or an empty text


def remark(choice: "Choice", tell: "Tell") -> None:
    """Tell what is not as expected: other numbers than those named, given out before, or in the ephemeral range."""
    gave = f"gave {some(list(choice.chosen))}"
    for reason, ports in _passed_over(choice).items():
        are = "is" if len(ports) == 1 else "are"
        tell("note", f"{some(ports)} {are} {reason}; {gave}", _who_says(choice, ports[0]))
    if not choice.chosen.keys() & set(choice.selection.preferred):
        for label, own in choice.moved.items():
            reason = _why_moved(choice, own)
            tell("note", f"{own}, the number of {_named(choice, label)}, is {reason}; {gave}", _who_says(choice, own))
    _remark_on_age(choice, tell)
    _remark_on_range(choice, tell)


def _passed_over(choice: "Choice") -> "dict[str, list[int]]":
    """The preferred numbers that were not given, by reason."""
    selection, found = choice.selection, dict[str, list[int]]()
    for port in selection.preferred:
        if port in selection.exclude:
            found.setdefault("excluded", []).append(port)
        elif port in choice.refused:
            found.setdefault(_reason(choice, port), []).append(port)
        elif selection.contiguous and port not in choice.chosen:
            found.setdefault(
                f"not the first of {selection.count} ports in a row that are unused and may be offered", []
            ).append(port)
    return found


def _reason(choice: "Choice", port: int) -> str:
    errno = choice.refused[port][1]
    return "in use" if errno == EADDRINUSE else "not permitted" if errno == EACCES else "not to be bound"


def _named(choice: "Choice", label: str) -> str:
    name = choice.name[1]
    return f"{name!r} {label!r}" if label else repr(name)


def _why_moved(choice: "Choice", port: int) -> str:
    if port in choice.chosen:
        return "that of another label, too"
    return _reason(choice, port) if port in choice.refused else "claimed by another caller"


def _who_says(choice: "Choice", port: int) -> str:
    is_in_use = port in choice.refused and choice.refused[port][1] == EADDRINUSE and port not in choice.chosen
    return f"`anyport who {port}` says by whom" if is_in_use else ""


def _remark_on_age(choice: "Choice", tell: "Tell") -> None:
    """Somebody else was given the number, and may be about to use it."""
    claims = {port: record for port, (record, name) in choice.chosen.items() if is_claimed(record, choice.now, name)}
    named = set(choice.selection.preferred)  # decided by the bind alone, and so is the block that begins with it
    if not claims or named & (set(choice.chosen) if choice.selection.contiguous else set(claims)):
        return
    served = {port: unpack_process(owner)[0] for port, record in claims.items() if (owner := process_of(record))}
    for port, pid in served.items():
        tell("note", f"{port} is process {pid}'s by a portserver: all that was asked for is claimed", "")
    ages = {port: (choice.now - given_at(record)) / 1_000_000 for port, record in claims.items() if port not in served}
    if ages:
        were = "was" if len(ages) == 1 else "were"
        age = max(0.0, min(ages.values()))
        tell("note", f"{some(list(ages))} {were} given out {age:.1f} s ago: all that was asked for is claimed", "")


def _remark_on_range(choice: "Choice", tell: "Tell") -> None:
    """The kernel may give the number away (DESIGN: the second row of the promise table)."""
    selection, settings = choice.selection, choice.settings
    inside = [port for port in choice.chosen if settings.is_ephemeral(port)]
    if not inside or not choice.may_lose_to_kernel:
        return
    text, danger = _lie_in_range(inside, settings), _kernel_may_give(inside)
    if choice.holding:
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


def remark_on_served(ports: "list[int]", tell: "Tell") -> None:
    """The same of what a portserver gave, whose pool may lie anywhere."""
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


def no_unused_port(choice: "Choice") -> NoUnusedPort:
    """The error that says what was asked for, what was tried, and who has it."""
    from anyport._who.occupants import explain

    selection = choice.selection
    refusals = explain([(port, *refused) for port, refused in sorted(choice.refused.items())])
    if selection.only and len(refusals) == selection.count == 1:
        message = str(refusals[0])
    else:
        what = "no unused port" if selection.count == 1 else f"no {selection.count} unused ports"
        in_a_row = " in a row" if selection.contiguous else ""
        message = f"{what}{in_a_row} {_asked_for(choice)}: {_outcome(choice)}"
    errno = refusals[0].errno if refusals else EADDRINUSE
    return NoUnusedPort(message, hint=_way_out(choice, refusals), errno=errno, refusals=refusals)


def _asked_for(choice: "Choice") -> str:
    selection, settings = choice.selection, choice.settings
    ephemeral = f"the ephemeral range {settings.low}-{settings.high}"
    if selection.base == "name":
        return f"for {', '.join(_named(choice, label) for label in selection.labels or ('',))}"
    if selection.ports:
        return f"among {selection.ports}"
    if selection.start:
        return f"from {selection.start} on"
    if selection.only:
        return f"among {some(list(selection.preferred))}"
    if selection.base == "ephemeral":
        return f"in {ephemeral}"
    return "in the quiet range" if selection.contiguous else f"in the quiet range and {ephemeral}"


def _outcome(choice: "Choice") -> str:
    """What came of it, in numbers; and the cause where no bind was even tried."""
    count, refused = choice.selection.count, len(choice.refused)
    found = f"{len(choice.chosen)} found, " if count > 1 and not choice.selection.contiguous else ""
    if choice.selection.contiguous and not refused:
        return f"the longest run of such numbers is {longest_run(choice.block_members)}"
    if refused:
        return f"{found}{refused} tried in vain"
    if choice.exhausted:
        return f"{found}the kernel has none left to give (bind of port 0: EADDRINUSE)"
    if choice.chosen:
        return f"{len(choice.chosen)} found, and no other number may be offered"
    return "all are excluded, in net.ipv4.ip_local_reserved_ports, or refused by browsers"


def _way_out(choice: "Choice", refusals: "Sequence[Refusal]") -> str:
    selection = choice.selection
    states = {occupant.state for refusal in refusals for occupant in refusal.occupants}
    if any(refusal.errno == EACCES for refusal in refusals):
        return "ask for a higher number, run as root, or lower that limit: it is a sysctl"
    if selection.strict and states == {"TIME_WAIT"}:
        return "without --strict it counts as unused if a server with SO_REUSEADDR can bind it"
    if not (refusals or choice.exhausted or selection.contiguous):
        return "a number that is named by itself, not in a range, and not excluded is given all the same"
    if selection.only:
        return "leave --only out to get another one"
    if selection.ports or selection.start:
        return "widen the range, or leave it out to get any unused port"
    return "ask for fewer" if selection.count > 1 else "`anyport doctor` shows what uses them up"


def some(ports: "list[int]") -> str:
    """The first few numbers, and how many more."""
    text = ", ".join(map(str, ports[:3]))
    return text if len(ports) <= 3 else f"{text} and {len(ports) - 3} more"
