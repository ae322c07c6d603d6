"""The verb `who`: which sockets have a port, in which state, and whose they are."""

import os
import sys
from errno import EADDRINUSE
from typing import NamedTuple

from anyport._ports import PortSet, check_port, items, parse_ports
from anyport._who.look import Look, errno_of_bind, look, number_of, numbers
from anyport._who.table import ALL, WITHOUT_PEER, shows_bound_only
from anyport._who.verdict import Circumstances, notes, verdict
from anyport.errors import InvalidSelection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from anyport._occupant import Occupant
    from anyport._ports import Number

    Ports = int | str | Iterable[int | str | range]


def who(
    port: "Ports | None" = None,
    *,
    tcp: bool = False,
    udp: bool = False,
    connections: bool = True,
    processes: bool = True,
) -> "list[Occupant]":
    """Return the sockets of this network namespace that have a port, as the kernel shows them at this moment.

    It promises nothing for later, and sees no other network namespace (a container's own).  Processes of other users
    are shown to root only, so `processes` may lack some, or be empty; the socket itself is always there.

    A number that is named by itself, and that no socket is seen to have, is bound for some microseconds to make sure:
    with SO_REUSEADDR where all sockets are shown, so that servers which set it are not disturbed.  If that is refused
    as in use, time and again, the answer is one occupant in state UNSEEN.  Numbers of a range are not bound: before
    Linux 6.8, and where netlink is refused, TCP sockets that are bound and do not listen stay unseen there.

    Args:
        port: a number, a text such as `"8080"` or `"7002-7011,8000"`, or several of them; None: every port in use.
        tcp: look at TCP; at both protocols if neither is chosen.
        udp: look at UDP.
        connections: False leaves out what has a peer, and what is left over from that.
        processes: False leaves out whose they are, the look-up of which takes longer than all the rest.

    Returns:
        Frozen `Occupant`s, one for each socket (siblings with SO_REUSEPORT are several); by ascending port if ports are
            named, else in the kernel's order.

    Raises:
        InvalidSelection: this is no port or range; raised before any system call.
        Unsupported: neither sock_diag(7) nor /proc/net can be read, or the kernel gave no whole answer in five tries;
            elsewhere than on Linux: psutil is not installed, or may not look.
        ResourceLimit: there is no descriptor left.
    """
    ports, protocols = read_ports(port), protocols_of(tcp=tcp, udp=udp)
    return look(ports, protocols, states=ALL if connections else WITHOUT_PEER, processes=processes).occupants


def blind_spot(ports: PortSet, protocols: "Sequence[str]") -> str:
    """Say what a look can't show here, and no bind has made up for; or return an empty text."""
    if sys.platform != "linux" or "tcp" not in protocols or 0 < len(ports) == len(ports.named):
        return ""
    return "" if shows_bound_only() else "TCP sockets that are bound and do not listen are not shown here"


class Finding(NamedTuple):
    """The verdict on one port and protocol, and what else is worth knowing, a line each.

    `keeps_out` is whether what is left over keeps out even a server with SO_REUSEADDR.
    """

    number: "Number"
    verdict: str
    notes: list[str]
    keeps_out: bool


def examine(ports: PortSet, protocols: "Sequence[str]", seen: Look, *, bind: bool = True) -> "list[Finding]":
    """Return the findings on those ports that are named by themselves; with `bind` one is tried past what is left over.

    What is true of a number, whatever the protocol, is said once: the claim with the first protocol; its range with the
    first that nobody has, for there it matters, or else with the first.
    """
    by_number: dict[Number, list[Occupant]] = {}
    for each in seen.occupants:
        by_number.setdefault(number_of(each), []).append(each)
    surroundings = _Surroundings(seen.occupants)
    unused = [number for number in numbers(ports.named, protocols) if number not in by_number]
    free = {port: protocol for protocol, port in reversed(unused)}
    findings: list[Finding] = []
    for number in numbers(ports.named, protocols):
        protocol, port = number
        found = by_number.get(number, [])
        errno, reuse = seen.binds.get(number), _errno_of_reuse(number, found) if bind else None
        known = surroundings.of(port, errno=errno, reuse=reuse)
        if protocol != free.get(port, protocols[0]):
            known = known._replace(settings=None)
        if protocol != protocols[0]:
            known = known._replace(given=None, given_to=0)
        findings.append(_finding(number, found, known))
    return findings


def _finding(number: "Number", occupants: "Sequence[Occupant]", known: Circumstances) -> Finding:
    return Finding(
        number,
        verdict=verdict(number, occupants, known),
        notes=notes(number, occupants, known),
        keeps_out=known.reuse == EADDRINUSE,
    )


def _errno_of_reuse(number: "Number", occupants: "Sequence[Occupant]") -> "int | None":
    """Return the errno that a server with SO_REUSEADDR meets, if nothing has the port but what is left over."""
    if sys.platform != "linux" or not occupants or not all(each.is_left_over for each in occupants):
        return None
    return errno_of_bind(number, reuse=True)


class _Surroundings:
    """What is the same for all ports of one look: found out once."""

    def __init__(self, occupants: "Sequence[Occupant]") -> None:
        self._of_all = Circumstances()
        self._slots = b""
        if sys.platform != "linux":
            return
        from anyport._ledger import reading
        from anyport._linux import proc
        from anyport._linux.socket import own_netns_cookie
        from anyport._linux.sysctl import port_settings

        namespace = own_netns_cookie()
        self._slots = reading.slots(namespace)
        has_hidden = any(each.inode and not each.processes for each in occupants)
        self._of_all = Circumstances(
            shows_bound_only=shows_bound_only(),
            has_proc=proc.is_ours(),
            sees_all=not (has_hidden and proc.unseen()),
            uid=os.geteuid(),
            settings=port_settings(namespace),
        )

    def of(self, port: int, *, errno: "int | None", reuse: "int | None") -> Circumstances:
        """Return what is known of a port, given the errno of its bind, and that of one past what is left over."""
        if sys.platform != "linux":
            return self._of_all._replace(errno=errno)
        from anyport._ledger import reading
        from anyport._who.occupants import why_refused

        failed = errno or reuse
        return self._of_all._replace(
            errno=errno,
            reuse=reuse,
            refused=why_refused(port, failed) if failed else "",
            given=reading.given(self._slots, port),
            given_to=reading.given_to(self._slots, port),
        )


def read_ports(port: "Ports | None", hint: str = "None means every port in use") -> PortSet:
    """Return the ports that are asked for; an empty set means all.  `hint` is for none at all, as in an empty list."""
    if port is None:
        return PortSet()
    if isinstance(port, (str, range)):
        return _not_empty(parse_ports(port), hint)
    if isinstance(port, (int, bytes)) or not hasattr(port, "__iter__"):
        port = [check_port(port)]
    given = items(port, "list of ports", hint=hint)
    parts = [parse_ports(each if isinstance(each, (str, range)) else [each]) for each in given]
    ranges = [found for part in parts for found in part.ranges]
    return _not_empty(PortSet([*ranges, *(range(number, number + 1) for part in parts for number in part.named)]), hint)


def _not_empty(ports: PortSet, hint: str) -> PortSet:
    if not ports:
        raise InvalidSelection("no port is named", hint=hint)
    return ports


def protocols_of(*, tcp: bool, udp: bool) -> "tuple[str, ...]":
    """Return the protocols that are chosen, or both if neither is."""
    return ("tcp",) if tcp and not udp else ("udp",) if udp and not tcp else ("tcp", "udp")
