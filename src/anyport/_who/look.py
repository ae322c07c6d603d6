"""A look at some ports: the sockets that have them, and a bind of those that nobody is seen to have."""

import _socket
import sys
from _socket import SO_REUSEADDR, SOL_SOCKET
from errno import EADDRINUSE, EAFNOSUPPORT
from operator import itemgetter
from typing import NamedTuple

from anyport._address import TCP, UDP
from anyport._clock import pauses
from anyport._linux.socket import mark
from anyport._occupant import UNSEEN, Occupant
from anyport._ports import PortSet
from anyport._who import table
from anyport._who.table import ALL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from anyport._ports import Number

_PATIENCE = 0.02  # seconds in which a server that binds between our look and our bind must be seen
_port = itemgetter(2)  # of a row or an occupant


class Look(NamedTuple):
    """What was seen: the occupants, and the errno of each bind that was tried (0: it succeeded)."""

    occupants: list[Occupant]
    binds: "dict[Number, int]"


def look(
    ports: PortSet, protocols: "Sequence[str]", *, states: int = ALL, processes: bool = True, bind: bool = True
) -> Look:
    """Look at these ports (none: at all); with `bind` those that are named and not seen are bound for microseconds.

    A bind that is refused as in use, again and again while nothing is seen to have the port, is told as an occupant in
    state UNSEEN.
    """
    found = occupants(ports, protocols, states=states, processes=processes)
    if sys.platform != "linux" or not (bind and ports.named):
        return Look(found, {})
    seen = set(map(number_of, found))
    unseen = [number for number in numbers(ports.named, protocols) if number not in seen]
    binds: dict[Number, int] = {}
    late: list[Occupant] = []
    # Where all sockets are shown the bind need not find out who has the port, so it refuses as few as possible.
    shows_tcp = any(protocol == "tcp" for protocol, _ in unseen) and table.shows_bound_only()
    for number in unseen:
        binds[number], more = _bind(number, reuse=shows_tcp or number[0] == "udp", processes=processes)
        late += [each for each in more if each.state == UNSEEN or table.is_in(each, states)]
    return Look(sorted(found + late, key=_port) if late else found, binds)


def number_of(occupant: Occupant) -> "Number":
    """Return the number that an occupant has."""
    return occupant.protocol, occupant.port


def numbers(ports: "Iterable[int]", protocols: "Sequence[str]") -> "list[Number]":
    """Return these ports of these protocols, by ascending port."""
    return [(protocol, port) for port in sorted(ports) for protocol in protocols]


def _bind(number: "Number", *, reuse: bool, processes: bool) -> "tuple[int, list[Occupant]]":
    """Return the errno of a bind, and who is seen to have the port after all if that is why it was refused."""
    protocol, port = number
    one = PortSet([range(port, port + 1)])
    for _ in pauses(_PATIENCE):
        errno = errno_of_bind(number, reuse=reuse)
        if errno != EADDRINUSE:
            return errno, []
        if found := occupants(one, [protocol], processes=processes):
            return errno, found
    return EADDRINUSE, [Occupant(protocol, "::", port)]


def occupants(
    ports: PortSet, protocols: "Sequence[str]", *, states: int = ALL, processes: bool = True
) -> "list[Occupant]":
    """Return the sockets that have these ports, by ascending port; or all (none), in no order."""
    if sys.platform != "linux":
        from anyport._who import by_psutil

        found = by_psutil.occupants(ports.ranges, protocols, processes=processes)
        return [each for each in found if table.is_in(each, states)]
    from anyport._who.occupants import maker, with_processes, without_collections

    def read() -> "list[Occupant]":
        found: list[Occupant] = []
        of_occupants = maker()
        for protocol in protocols:
            found += table.made(protocol, ports.ranges, states, of_occupants)
        return with_processes(found) if processes else found

    with without_collections():
        found = read()
        if processes and ports and any(each.inode and not each.processes for each in found):
            found = read()  # what was closed between the two looks is gone now
        if ports:  # of a whole table this would be a tenth of the time
            found.sort(key=_port)
        return found


def errno_of_bind(number: "Number", *, reuse: bool) -> int:
    """Return 0 if the bind succeeds, else its errno, or that of the socket; the port is bound for some microseconds.

    With `reuse` (SO_REUSEADDR) nobody who sets that too is refused meanwhile; but it succeeds over sockets that are
    bound only and have set it.
    """
    protocol, port = number
    kind = TCP if protocol == "tcp" else UDP
    try:
        return _bind_once(_socket.AF_INET6, kind, port, reuse=reuse)
    except OSError as error:
        if error.errno != EAFNOSUPPORT:
            return error.errno or EAFNOSUPPORT
    try:
        return _bind_once(_socket.AF_INET, kind, port, reuse=reuse)  # a system without IPv6
    except OSError as error:
        return error.errno or EAFNOSUPPORT


def _bind_once(family: int, kind: int, port: int, *, reuse: bool) -> int:
    sock = _socket.socket(family, kind)
    try:
        if family == _socket.AF_INET6:
            sock.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, 0)
        if reuse:
            sock.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        sock.bind(("::" if family == _socket.AF_INET6 else "0.0.0.0", port))
    except OSError:
        mark(sock)
        raise
    else:
        return 0
    finally:
        sock.close()
