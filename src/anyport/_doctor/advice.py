"""Advice: from the doctor's findings to what a user should change, and the command that does (pure)."""

from errno import EBUSY, EINVAL, ENOSYS, EPERM

from anyport._ledger.health import UNUSABLE
from anyport._occupant import printable
from anyport._ports import QUIET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from anyport._doctor.findings import Findings, Ports, Use

    Advice = tuple[str, str]  # what is wrong, and the way out

_FEW_QUIET = 1000
_MOST_USED = 0.8
_FEW_DESCRIPTORS = 256
_USUAL_RANGE = (32768, 60999)
_WIDE_RANGE = (30000, 65535)  # as wide as can be while the quiet range stays quiet


def is_broken(found: "Findings") -> bool:
    """Tell whether `find` can't do its work here."""
    server = found.features.get("portserver")
    return _finds_none(found) or (server is not None and not server.works)


def _finds_none(found: "Findings") -> bool:
    """Tell whether `find` can't do its work even without a portserver."""
    return not found.features["find"].works


def advice(found: "Findings") -> "list[Advice]":
    """Give one piece of advice for each thing that should be changed, the gravest first."""
    return [
        *_on_find(found),
        *_on_portserver(found),
        *_on_holds(found),
        *_on_quiet_range(found.ports),
        *_on_ephemeral_range(found.ports),
        *(each for use in found.uses for each in _on_use(use, found.ports)),
        *_on_autobind(found.ports),
        *_on_descriptors(found),
        *_on_sock_diag(found),
        *_on_supervision(found),
        *_on_ledger(found),
    ]


def _on_find(found: "Findings") -> "Iterator[Advice]":
    if _finds_none(found):
        broken = found.features["find"]
        yield f"no port can be found: {broken.why}", broken.hint or "a sandbox or a limit of this system forbids it"


def _on_portserver(found: "Findings") -> "Iterator[Advice]":
    server = found.features.get("portserver")
    if server and not server.works:
        yield f"`anyport` and `find` get no port: {server.why}", server.hint


def _on_holds(found: "Findings") -> "Iterator[Advice]":
    for protocol in ("tcp", "udp"):
        hold = found.features[f"hold {protocol}"]
        if not (hold.works or _finds_none(found)):
            text = f"a {protocol.upper()} port can't be held and handed over here: {hold.why}"
            yield text, hold.hint or "this is not how Linux does it: gVisor and WSL 1 are other kernels"


def _on_quiet_range(ports: "Ports") -> "Iterator[Advice]":
    if ports.quiet >= _FEW_QUIET:
        return
    left = f"leaves {ports.quiet or 'no'} ports of {QUIET.start}-{QUIET[-1]}"
    danger = "`find` must take numbers that the kernel gives to others too"
    if ports.low <= QUIET[-1] and QUIET.start <= ports.high:
        text = f"the ephemeral range {ports.low}-{ports.high} {left}, so {danger}"
        yield text, _set_range(_USUAL_RANGE)
    else:
        text = f"net.ipv4.ip_local_reserved_ports {left}, so {danger}"
        yield text, _reserve_fewer()


def _on_ephemeral_range(ports: "Ports") -> "Iterator[Advice]":
    if not ports.available:
        text = f"net.ipv4.ip_local_reserved_ports leaves no ports of the ephemeral range {ports.low}-{ports.high}"
        yield f"{text}, so outgoing connections and binds of port 0 fail", _reserve_fewer()


def _on_use(use: "Use", ports: "Ports") -> "Iterator[Advice]":
    available = ports.available
    if not available or use.ports < _MOST_USED * available:
        return
    state, by_state = next(iter(use.states.items()), ("", 0))
    text = f"{use.ports} of {available} ephemeral {use.protocol.upper()} ports are in use, {by_state} of them {state}"
    program, by_program = next(iter(use.programs.items()), ("", 0))
    program = printable(program)
    if by_program:
        text += f", {by_program} by {program}"
    yield f"{text}; once all are, outgoing connections and binds of port 0 fail", _room(ports, state, program)


def _room(ports: "Ports", state: str, program: str) -> str:
    if state == "TIME_WAIT" and ports.tw_reuse != 1:
        return f"{_set('net.ipv4.tcp_tw_reuse', '1')} lets outgoing connections have those in TIME_WAIT"
    if ports.size < _WIDE_RANGE[1] - _WIDE_RANGE[0] + 1:
        return f"{_set_range(_WIDE_RANGE)} makes the range wider"
    if ports.available < (1 - _MOST_USED) * ports.size:
        return _reserve_fewer()
    return f"end {program}, or have it use its connections again" if program else "have programs use connections again"


def _on_autobind(ports: "Ports") -> "Iterator[Advice]":
    if ports.autobind_reuse:
        text = (
            "net.ipv4.ip_autobind_reuse is 1: once the ephemeral range is full, the kernel may give a port that is held"
        )
        text += " with its door open to a program that sets SO_REUSEADDR and binds port 0"
        yield text, _set("net.ipv4.ip_autobind_reuse", "0")


def _on_descriptors(found: "Findings") -> "Iterator[Advice]":
    soft, hard = found.system.descriptors, found.system.descriptors_at_most
    if 0 <= soft < _FEW_DESCRIPTORS:
        enough = hard < 0 or hard >= _FEW_DESCRIPTORS
        hint = "`ulimit -n 1024`" if hard < 0 or hard >= 1024 else f"`ulimit -n {hard}`" if enough else ""
        text = f"a process may have {soft} descriptors (RLIMIT_NOFILE), and each port that is held takes one or two"
        yield text, hint or f"the hard limit is {hard}, which root can raise: `ulimit -n 1024`"


def _on_sock_diag(found: "Findings") -> "Iterator[Advice]":
    all_sockets, bound_only = found.features["sock_diag"], found.features["bound-only"]
    if _finds_none(found):
        return
    if not all_sockets.works:
        text = f"the kernel's socket table can't be asked (netlink, sock_diag): {all_sockets.why}; so it is not seen"
        text += " which ports are held, but by a bind"
        yield (
            text,
            "let the sandbox allow sockets of AF_NETLINK; a systemd unit names that in `RestrictAddressFamilies=` too",
        )
    elif not bound_only.works:
        text = f"ports that are held, and do not listen, are not shown: {bound_only.why}"
        yield text, "Linux 6.8 or newer shows them"


def _on_supervision(found: "Findings") -> "Iterator[Advice]":
    features = found.features
    broken = features["supervised"]
    if broken.works or _finds_none(found):
        return
    text = f"`anyport run` can't supervise programs: {broken.why}; so it shares the port, which others who set"
    text += " SO_REUSEADDR may take before the program listens"
    yield text, broken.hint or _way_to_supervision(broken.errno, can_take_sockets=bool(features["pidfd_getfd"].works))


def _way_to_supervision(errno: int, *, can_take_sockets: bool) -> str:
    if errno == EBUSY:
        return "use one `anyport run` for everything: the outermost can hold all the ports (`--as`)"
    if errno == EPERM and not can_take_sockets:
        return "in Docker `docker run --cap-add SYS_PTRACE ...`; elsewhere let the sandbox allow pidfd_getfd"
    if errno == EPERM:
        return "in Docker `docker run --security-opt seccomp=unconfined ...`; elsewhere let the sandbox allow seccomp"
    if errno in (ENOSYS, EINVAL):
        return "Linux 5.9 or newer, on x86-64 or aarch64"
    return "let the sandbox allow seccomp, pidfd_open, pidfd_getfd and process_vm_readv"


def _on_ledger(found: "Findings") -> "Iterator[Advice]":
    for message, hint in found.ledger.remarks:
        alone = "; until then each process knows only the ports that it gave out itself"
        yield f"{message}{alone if found.ledger.state == UNUSABLE else ''}", hint


def _set_range(ports: "tuple[int, int]") -> str:
    return _set("net.ipv4.ip_local_port_range", f"'{ports[0]} {ports[1]}'")


def _set(name: str, value: str) -> str:
    return f"`sysctl -w {name}={value}`"


def _reserve_fewer() -> str:
    return f"reserve fewer: {_set('net.ipv4.ip_local_reserved_ports', '8080,9000-9010')}, for example"
