"""Occupants: which sockets have a port, whose they are, and why else a bind of it was refused."""

import _socket
import gc
import os
from errno import EACCES, EADDRINUSE
from itertools import islice

from anyport._address import Endpoint, may_overlap
from anyport._linux import sysctl
from anyport._linux.proc import cmdline, socket_owners
from anyport._linux.row import RowMaker, constructor
from anyport._occupant import Occupant, Process, Refusal, sentence
from anyport._who import table
from anyport.errors import Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from anyport._linux.row import Row

_MANY = 8  # ports, from which on one dump of all sockets is quicker than a question for each


_new = constructor(Occupant)


def maker() -> RowMaker:
    """Return what makes occupants of a table at once, without processes; it looks up each user and interface once."""
    return RowMaker(_new, _Interfaces(), _Users(), has_cookie=False)


def with_processes(occupants: "Sequence[Occupant]") -> "list[Occupant]":
    """Return these occupants with their processes (the last field), as far as /proc shows them."""
    owners = _processes({each.inode for each in occupants})
    return [_new((*each[:-1], owners.get(each.inode, ()))) for each in occupants]


def made(rows: "Iterable[Row]") -> "list[Occupant]":
    """Make occupants of rows, with the names of their users and their processes."""
    return with_processes(list(map(maker().of, rows)))


def _processes(inodes: "set[int]") -> "dict[int, tuple[Process, ...]]":
    known: dict[int, Process] = {}
    found: dict[int, tuple[Process, ...]] = {}
    for inode, owners in socket_owners(inodes).items():
        for pid, name in owners:
            if pid not in known:
                known[pid] = Process(pid, name, cmdline(pid))
        found[inode] = tuple(known[pid] for pid, _ in sorted(owners))
    return found


class _Users(dict["int | None", "str | None"]):
    """Names of users, each looked up once."""

    def __missing__(self, uid: "int | None") -> "str | None":
        import pwd

        try:
            name = None if uid is None else pwd.getpwuid(uid).pw_name
        except (KeyError, OverflowError):
            name = None
        self[uid] = name
        return name


class _Interfaces(dict[int, "str | None"]):
    """Names of interfaces, each looked up once; None for no interface."""

    def __missing__(self, index: int) -> "str | None":
        try:
            name = _socket.if_indextoname(index) if index else None
        except OSError:  # it is gone
            name = f"interface {index}"
        self[index] = name
        return name


class without_collections:  # noqa: N801 - reads like a word
    """Lets no garbage collection take place meanwhile.

    The rows of a large table are no garbage, and looking at them again and again would double the time: 131 ms instead
    of 72 for 50,000.
    """

    def __enter__(self) -> None:
        self._was_on = gc.isenabled()
        gc.disable()

    def __exit__(self, *_: object) -> None:
        if self._was_on:
            gc.enable()


def explain(refused: "Sequence[tuple[int, Endpoint, int]]") -> "list[Refusal]":
    """Return the refusals of a probe, (port, endpoint, errno) each, with the sockets that have those ports."""
    in_use = [(port, endpoint) for port, endpoint, errno in refused if errno == EADDRINUSE]
    numbers = sorted({port for port, _ in in_use})
    ranges = [range(port, port + 1) for port in numbers] if len(numbers) < _MANY else []
    tables = {protocol: _by_port(protocol, ranges) for protocol in {endpoint.protocol for _, endpoint in in_use}}
    found = [
        _in_the_way(tables[endpoint.protocol].get(port, []), endpoint) if errno == EADDRINUSE else []
        for port, endpoint, errno in refused
    ]
    each = iter(made(row for rows in found for row in rows))
    return [
        _refusal(port, endpoint, errno, tuple(islice(each, len(rows))))
        for (port, endpoint, errno), rows in zip(refused, found, strict=True)
    ]


def _refusal(port: int, endpoint: Endpoint, errno: int, who: "tuple[Occupant, ...]") -> Refusal:
    if errno == EADDRINUSE:
        reason = f"in use: {sentence(who or [Occupant(endpoint.protocol, endpoint.host, port)])}"
    else:
        reason = f"{'not permitted' if errno == EACCES else 'refused'}: {why_refused(port, errno)}"
    return Refusal(port, endpoint.protocol, endpoint.written, errno, reason, who)


def why_refused(port: int, errno: int) -> str:
    """Say why a bind failed, if not because somebody has the port."""
    if errno == EACCES and port < (first := sysctl.ip_unprivileged_port_start()):
        return f"below net.ipv4.ip_unprivileged_port_start = {first}"
    if errno == EACCES:
        return "a security policy of this system forbids it"
    return f"{os.strerror(errno)} (errno {errno})"


def _by_port(protocol: str, ranges: "Sequence[range]") -> "dict[int, list[Row]]":
    by_port: dict[int, list[Row]] = {}
    try:
        for row in table.rows(protocol, ranges):
            by_port.setdefault(row.port, []).append(row)
    except Unsupported:  # then the cause stays unseen, and the message says so
        return {}
    return by_port


def _in_the_way(rows: "list[Row]", endpoint: Endpoint) -> "list[Row]":
    """Return the sockets that can be in the endpoint's way; connections only if nothing else is, for servers have some.

    Should none seem to be, then all on the port: a leftover of a dual-stack server on ::1 stands in the way of 0.0.0.0.
    """
    found = [row for row in rows if may_overlap(row.address, endpoint.host, v6only=row.v6only)] or rows
    return [row for row in found if row.state in ("LISTEN", "BOUND")] or found
