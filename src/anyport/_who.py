"""The verb `who`: which sockets have a port, in which state, and whose they are."""

import os
import sys
from errno import EADDRINUSE
from operator import itemgetter
from typing import NamedTuple

from anyport._ports import PortSet, check_port, parse_ports
from anyport._refusal import Occupant
from anyport._verdict import Circumstances, notes, verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    Ports = int | str | Iterable[int | str]

_port = itemgetter(2)  # of a row or an occupant


def who(
    port: "Ports | None" = None,
    *,
    tcp: bool = False,
    udp: bool = False,
    connections: bool = True,
    processes: bool = True,
) -> "list[Occupant]":
    """The sockets of this network namespace that have a port, as the kernel shows them at this moment.

    It promises nothing for later, and sees no other network namespace (a container's own).  Processes of other users
    are shown to root only, so `processes` may lack some, or be empty; the socket itself is always there.

    A number that is named by itself, and that no socket is seen to have, is bound for some microseconds to make sure.
    If that is refused as in use, the answer is one occupant in state UNSEEN.  Numbers of a range are not bound: before
    Linux 6.8, and where netlink is refused, TCP sockets that are bound and do not listen stay unseen there.

    Args:
        port: a number, a text such as `"8080"` or `"7002-7011,8000"`, or several of them; None: every port in use.
        tcp: look at TCP; at both protocols if neither is chosen.
        udp: look at UDP.
        connections: False leaves out what has a peer, and what is left over from that.
        processes: False leaves out whose they are, the look-up of which takes longer than all the rest.

    Returns:
        Frozen `Occupant`s, one for each socket (siblings with SO_REUSEPORT are several), by ascending port.

    Raises:
        InvalidSelection: this is no port or range; raised before any system call.
        Unsupported: neither sock_diag(7) nor /proc/net can be read; elsewhere than on Linux: psutil is not installed,
            or may not look.
    """
    return look(
        read_ports(port), protocols_of(tcp=tcp, udp=udp), connections=connections, processes=processes
    ).occupants


class Look(NamedTuple):
    """What one look at the table has shown, and the errno of each bind (0: it succeeded) that was tried after it."""

    occupants: list[Occupant]
    binds: dict[tuple[int, str], int]


def look(
    ports: PortSet, protocols: "Sequence[str]", *, connections: bool = True, processes: bool = True, bind: bool = True
) -> Look:
    """The occupants of these ports (none: of all), by ascending port; with `bind` those too that only a bind shows."""
    if sys.platform != "linux":
        from anyport import _elsewhere

        return Look(_elsewhere.occupants(ports.ranges, protocols, connections=connections, processes=processes), {})
    found = _occupants(ports, protocols, connections=connections, processes=processes)
    if not (bind and ports.named):
        return Look(found, {})
    named = {(port, protocol) for port in ports.named for protocol in protocols}
    unseen = named - {(each.port, each.protocol) for each in found}
    if unseen and not connections:
        rest = PortSet(range(port, port + 1) for port, _ in unseen)
        unseen -= {(each.port, each.protocol) for each in _occupants(rest, protocols, processes=False)}
    binds = {each: _bind(*each) for each in sorted(unseen)}
    hidden = [Occupant(protocol, "::", port) for (port, protocol), errno in binds.items() if errno == EADDRINUSE]
    return Look(sorted(found + hidden, key=_port) if hidden else found, binds)


def _occupants(
    ports: PortSet, protocols: "Sequence[str]", *, connections: bool = True, processes: bool = True
) -> "list[Occupant]":
    from anyport import _table
    from anyport._occupants import occupants, without_collections

    with without_collections():
        states = _table.ALL if connections else _table.WITHOUT_PEER
        rows = [row for each in protocols for row in _table.rows(each, ports.ranges, states)]
        rows.sort(key=_port)
        return occupants(rows, processes=processes)


def blind_spot(ports: PortSet, protocols: "Sequence[str]") -> str:
    """What a look can't show here, and no bind has made up for; or an empty text."""
    if sys.platform != "linux" or "tcp" not in protocols or 0 < len(ports) == len(ports.named):
        return ""
    from anyport import _table

    return "" if _table.shows_bound_only() else "TCP sockets that are bound and do not listen may not be shown here"


def _bind(port: int, protocol: str) -> int:
    """The errno of a bind on every address, 0 if it succeeded."""
    from anyport._address import TCP, UDP, endpoints
    from anyport._probe import Probe

    probe = Probe(endpoints((), (TCP if protocol == "tcp" else UDP,)))
    try:
        refused = probe.refusal(port)
    finally:
        probe.close()
    return refused[1] if refused else 0


class Finding(NamedTuple):
    """The verdict on one port and protocol, and what else is worth knowing, a line each."""

    number: tuple[int, str]
    verdict: str
    notes: list[str]


def examine(ports: PortSet, protocols: "Sequence[str]", seen: Look) -> "list[Finding]":
    """The findings on those ports that are named by themselves."""
    by_number: dict[tuple[int, str], list[Occupant]] = {}
    for each in seen.occupants:
        by_number.setdefault((each.port, each.protocol), []).append(each)
    circumstances = _circumstances(seen.occupants)
    findings: list[Finding] = []
    for number in [(port, protocol) for port in sorted(ports.named) for protocol in protocols]:
        found, known = by_number.get(number, []), circumstances(number[0], seen.binds.get(number))
        if number[1] != protocols[0]:  # what is true of the number was said of it once
            known = known._replace(settings=None, given=None)
        findings.append(Finding(number, verdict(*number, found, known), notes(*number, found, known)))
    return findings


def _circumstances(occupants: "Sequence[Occupant]") -> "Callable[[int, int | None], Circumstances]":
    """What is known of a port, given the errno of its bind; what is the same for all ports is found out now."""
    if sys.platform != "linux":
        return lambda _port, errno: Circumstances(errno)
    from anyport import _table
    from anyport._ledger import reading
    from anyport._linux import proc
    from anyport._linux.socket import own_netns_cookie
    from anyport._linux.sysctl import port_settings
    from anyport._occupants import why_refused

    namespace = own_netns_cookie()
    settings, slots = port_settings(namespace), reading.slots(namespace)
    shows_bound_only, is_root = _table.shows_bound_only(), os.geteuid() == 0
    has_hidden = any(each.inode and not each.processes for each in occupants)
    sees_all = not (has_hidden and proc.unseen())

    def circumstances(port: int, errno: "int | None") -> Circumstances:
        refused = why_refused(port, errno) if errno else ""
        return Circumstances(errno, refused, shows_bound_only, is_root, sees_all, settings, reading.given(slots, port))

    return circumstances


def read_ports(port: "Ports | None") -> PortSet:
    """The ports that are asked for; none means all."""
    if port is None:
        return PortSet()
    if isinstance(port, bytes) or not hasattr(port, "__iter__"):
        port = check_port(port)
    each = [port] if isinstance(port, (int, str)) else port
    parts = [parse_ports(one if isinstance(one, str) else [one]) for one in each]
    ranges = [found for part in parts for found in part.ranges]
    return PortSet([*ranges, *(range(number, number + 1) for part in parts for number in part.named)])


def protocols_of(*, tcp: bool, udp: bool) -> "tuple[str, ...]":
    """Both, if neither is chosen."""
    return ("tcp",) if tcp and not udp else ("udp",) if udp and not tcp else ("tcp", "udp")
