"""`anyport doctor`: its options, and what it does."""

from anyport._cli import output
from anyport._cli.parser import Parser, add_output
from anyport._occupant import printable
from anyport._ports import QUIET
from anyport.errors import InvalidSelection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from anyport._doctor.advice import Advice
    from anyport._doctor.features import Feature
    from anyport._doctor.findings import Findings, Use

_DESCRIPTION = """\
Say what this system allows, each thing learnt by trying it: whether ports can be
found, held and handed over, whose sockets can be seen, how much of the ephemeral
range is in use and by whom, and how the ledger is. A warning for each thing that
should be changed, with the command that changes it.
"""

_EPILOG = """\
Looking changes nothing: no port is claimed, no ledger is begun.

exit status:
  0 `anyport` finds ports here; 1 it does not, with the reason; 2 wrong usage
"""

_WORDS = {
    "find": "find ports", "hold tcp": "hold TCP ports", "hold udp": "hold UDP ports", "reuseport": "SO_REUSEPORT",
    "ipv6": "IPv6", "sock_diag": "see sockets", "bound-only": "see held ports", "processes": "see processes",
    "pidfd_getfd": "pidfd_getfd", "seccomp": "seccomp listener", "supervised": "supervise programs",
    "portserver": "portserver",
}  # fmt: skip
_WIDTH = 20


def _parser() -> Parser:
    parser = Parser("anyport doctor", "anyport doctor [--json]", _DESCRIPTION, _EPILOG)
    add_output(parser, json="all of it, and the warnings, as JSON", shell=False)
    return parser


class Command:
    """Read a command line of `anyport doctor`, and do what it says."""

    def __init__(self, args: "Sequence[str]") -> None:
        parser = _parser()
        options, numbers = parser.read(args)
        self.text = parser.format_help() if options["help"] else ""
        self.json: bool = options["json"]
        if numbers and not self.text:
            raise InvalidSelection(f"doctor takes no argument: {numbers[0]}", hint="`anyport --help` lists the verbs")

    def run(self) -> int:
        """Write what this system allows and what should be changed; return the exit status."""
        from signal import SIG_DFL, SIGCHLD, signal

        from anyport import _background
        from anyport._doctor.advice import advice, is_broken
        from anyport._doctor.findings import examine

        _background.fill()
        signal(SIGCHLD, SIG_DFL)  # a caller who ignores it would have the children of the trials vanish unseen
        found = examine()
        warnings = advice(found)
        output.write_until_closed(_as_json(found, warnings) if self.json else _as_text(found, warnings))
        return output.NOTHING_THERE if is_broken(found) else output.DONE


def _as_json(found: "Findings", warnings: "list[Advice]") -> str:
    facts = found._asdict()
    facts["features"] = [each._asdict() for each in found.features.values()]
    for name in ("system", "ports", "ledger"):
        facts[name] = getattr(found, name)._asdict()
    facts["ports"]["size"], available = found.ports.size, found.ports.available
    facts["ports"]["available"] = available
    del facts["ledger"]["remarks"]  # which are among the warnings
    facts["uses"] = [{**each._asdict(), "share": each.ports / max(1, available)} for each in found.uses]
    facts["warnings"] = [{"message": message, "hint": hint} for message, hint in warnings]
    return output.as_json(facts)


def _as_text(found: "Findings", warnings: "list[Advice]") -> str:
    parts = [_system(found), _features(found), _ports(found), _ledger(found)]
    lines = [line for part in parts for line in (*part, "")]
    for message, hint in warnings:
        lines += [f"warning: {message}", f"hint: {hint}"]
    return "\n".join(lines if warnings else [*lines, "nothing needs to be changed"]) + "\n"


def _line(name: str, value: str) -> str:
    return f"  {name:{_WIDTH}}{value}"


def _system(found: "Findings") -> "Iterator[str]":
    system = found.system
    yield "system"
    yield _line("kernel", f"Linux {system.kernel}, {system.machine}")
    yield _line("anyport", f"{system.anyport}, Python {system.python}")
    yield _line("user", f"{system.user} (uid {system.uid})" if system.user else f"uid {system.uid}")
    yield _line(
        "descriptors", "no limit" if system.descriptors < 0 else f"{system.descriptors} a process (RLIMIT_NOFILE)"
    )


def _features(found: "Findings") -> "Iterator[str]":
    yield "what works here, learnt by trying"
    for name, feature in found.features.items():
        yield _line(_WORDS[name], _said(feature))
    yield _line("hand-overs", ", ".join(found.hand_overs) or "none")


def _said(feature: "Feature") -> str:
    if feature.works:
        return "yes"
    if feature.works is None or feature.name == "processes":
        return feature.why
    return f"no: {feature.why}"


def _ports(found: "Findings") -> "Iterator[str]":
    ports = found.ports
    yield "ports"
    less = f", {available} of them not reserved" if (available := ports.available) < ports.size else ""
    yield _line("ephemeral range", f"{ports.low}-{ports.high}, {ports.size} ports{less}")
    yield _line("reserved", ports.reserved or "none")
    yield _line("privileged", f"below {ports.unprivileged_start}" if ports.unprivileged_start else "none")
    yield _line("quiet range", f"{ports.quiet or 'no'} ports, of {QUIET.start}-{QUIET[-1]}")
    if ports.autobind_reuse is not None:
        yield _line("ip_autobind_reuse", str(ports.autobind_reuse))
    but = ", without those that are held" if found.features["bound-only"].works is False else ""
    for use in found.uses:
        yield from _use(use, available, but if use.protocol == "tcp" else "")
    if not found.uses:
        yield _line("in use", f"can't be seen: {found.why_no_uses}")


def _use(use: "Use", available: int, but: str) -> "Iterator[str]":
    states = ", ".join(f"{count} {state}" for state, count in use.states.items())
    share = f"{use.ports} of {available} ephemeral ports, {100 * use.ports / max(1, available):.1f} %{but}"
    yield _line(f"{use.protocol.upper()} in use", f"{share}{': ' if states else ''}{states}")
    by = [f"{printable(name)} {count}" for name, count in use.programs.items()]
    rest = {"other programs": use.other_programs, "of no process": use.left_over, "process unseen": use.unseen}
    by += [f"{name} {count}" for name, count in rest.items() if count]
    if by:
        yield _line("  by", ", ".join(by))


def _ledger(found: "Findings") -> "Iterator[str]":
    ledger = found.ledger
    claims = "1 claim" if ledger.claims == 1 else f"{ledger.claims} claims"
    said = {
        "none yet": "none yet; it will be begun there",
        "stale": "of an earlier boot, or broken; the next call begins it anew",
        "unusable": "can't be used",
    }
    yield "ledger"
    yield _line("place", ledger.path)
    yield _line("state", said.get(ledger.state, f"usable, {claims}"))
