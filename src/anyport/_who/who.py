"""The verb `who`: which sockets have a port, in which state, and whose they are."""

import os
import sys
from errno import EADDRINUSE
from typing import NamedTuple

from anyport._ports import PortSet, check_port, items, parse_ports
from anyport._who.look import Look, look
from anyport._who.table import ALL, WITHOUT_PEER, shows_bound_only
from anyport._who.verdict import Circumstances, notes, verdict
from anyport.errors import InvalidSelection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from anyport._occupant import Occupant

    Ports = int | str | Iterable[int | str | range]


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
    """What a look can't show here, and no bind has made up for; or an empty text."""
    if sys.platform != "linux" or "tcp" not in protocols or 0 < len(ports) == len(ports.named):
        return ""
    return "" if shows_bound_only() else "TCP sockets that are bound and do not listen are not shown here"


class Finding(NamedTuple):
    """The verdict on one port and protocol, and what else is worth knowing, a line each.

    `keeps_out` is whether what is left over keeps out even a server with SO_REUSEADDR.
    """

    number: tuple[int, str]
    verdict: str
    notes: list[str]
    keeps_out: bool


def examine(ports: PortSet, protocols: "Sequence[str]", seen: Look, *, bind: bool = True) -> "list[Finding]":
    """The findings on those ports that are named by themselves; with `bind` one is tried past what is left over."""
    by_number: dict[tuple[int, str], list[Occupant]] = {}
    for each in seen.occupants:
        by_number.setdefault((each.port, each.protocol), []).append(each)
    circumstances = _circumstances(seen.occupants)
    findings: list[Finding] = []
    # What is true of the number is said once; of its range where nobody has it, for there that matters.
    free = {port: each for port in ports.named for each in reversed(protocols) if (port, each) not in by_number}
    for number in [(port, protocol) for port in sorted(ports.named) for protocol in protocols]:
        found = by_number.get(number, [])
        known = circumstances(number[0], seen.binds.get(number), _errno_of_reuse(number, found) if bind else None)
        if number[1] != free.get(number[0], protocols[0]):
            known = known._replace(settings=None)
        if number[1] != protocols[0]:
            known = known._replace(given=None, given_to=0)
        findings.append(
            Finding(number, verdict(*number, found, known), notes(*number, found, known), known.reuse == EADDRINUSE)
        )
    return findings


def _errno_of_reuse(number: "tuple[int, str]", occupants: "Sequence[Occupant]") -> "int | None":
    """The errno that a server with SO_REUSEADDR meets, if nothing has the port but what is left over."""
    if sys.platform != "linux" or not occupants or not all(each.is_left_over for each in occupants):
        return None
    from anyport._who.look import errno_of_bind

    return errno_of_bind(*number, reuse=True)


def _circumstances(occupants: "Sequence[Occupant]") -> "Callable[[int, int | None, int | None], Circumstances]":
    """What is known of a port, given the errno of its bind, and of one with SO_REUSEADDR past what is left over.

    What is the same for all ports is found out now.
    """
    if sys.platform != "linux":
        return lambda _port, errno, _reuse: Circumstances(errno)
    from anyport._ledger import reading
    from anyport._linux import proc
    from anyport._linux.socket import own_netns_cookie
    from anyport._linux.sysctl import port_settings
    from anyport._who.occupants import why_refused

    namespace = own_netns_cookie()
    settings, slots = port_settings(namespace), reading.slots(namespace)
    shows_all, uid = shows_bound_only(), os.geteuid()
    has_hidden = any(each.inode and not each.processes for each in occupants)
    has_proc, sees_all = proc.is_ours(), not (has_hidden and proc.unseen())

    def circumstances(port: int, errno: "int | None", reuse: "int | None") -> Circumstances:
        failed = errno or reuse
        refused = why_refused(port, failed) if failed else ""
        given, given_to = reading.given(slots, port), reading.given_to(slots, port)
        return Circumstances(errno, refused, shows_all, has_proc, sees_all, uid, reuse, settings, given, given_to)

    return circumstances


def read_ports(port: "Ports | None", hint: str = "None means every port in use") -> PortSet:
    """The ports that are asked for; an empty set means all.  `hint` is for what has none, such as an empty list."""
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
    """Both, if neither is chosen."""
    return ("tcp",) if tcp and not udp else ("udp",) if udp and not tcp else ("tcp", "udp")
