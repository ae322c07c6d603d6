"""Occupants: which sockets have a port, whose they are, and why else a bind of it was refused."""

import os
from errno import EACCES, EADDRINUSE

from anyport._address import Endpoint, may_overlap
from anyport._linux import sysctl
from anyport._linux.proc import socket_owners
from anyport._linux.sock_diag import Row, sockets
from anyport._refusal import Occupant, Process, Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_MANY = 8  # ports, from which on one dump of all sockets is quicker than a question for each


def explain(refused: "Sequence[tuple[int, Endpoint, int]]") -> "list[Refusal]":
    """The refusals of a probe, (port, endpoint, errno) each, with the sockets that have those ports."""
    in_use = [(port, endpoint) for port, endpoint, errno in refused if errno == EADDRINUSE]
    tables = {
        (protocol, port): _rows(protocol, port)
        for protocol in {endpoint.protocol for _, endpoint in in_use}
        for port in ({port for port, _ in in_use} if len(in_use) < _MANY else {0})
    }
    found = [_in_the_way(tables, port, endpoint) if errno == EADDRINUSE else [] for port, endpoint, errno in refused]
    owners = socket_owners({row.inode for rows in found for row in rows})
    return [
        _refusal(port, endpoint, errno, _occupants(rows, owners))
        for (port, endpoint, errno), rows in zip(refused, found, strict=True)
    ]


def _refusal(port: int, endpoint: Endpoint, errno: int, occupants: "tuple[Occupant, ...]") -> Refusal:
    if errno == EADDRINUSE:
        reason = f"in use: {'; '.join(map(str, occupants)) or 'by a socket that can not be seen'}"
    elif errno == EACCES and port < (first := sysctl.ip_unprivileged_port_start()):
        reason = f"not permitted: below net.ipv4.ip_unprivileged_port_start = {first}"
    elif errno == EACCES:
        reason = "not permitted by a security policy of this system"
    else:
        reason = f"refused: {os.strerror(errno)} (errno {errno})"
    return Refusal(port, endpoint.protocol, endpoint.written, errno, reason, occupants)


def _rows(protocol: str, port: int) -> "dict[int, list[Row]]":
    by_port: dict[int, list[Row]] = {}
    try:
        for row in sockets(protocol, port):
            by_port.setdefault(row.port, []).append(row)
    except OSError:  # netlink is refused in some sandboxes: then the cause stays unseen, and the message says so
        return {}
    return by_port


def _in_the_way(tables: "dict[tuple[str, int], dict[int, list[Row]]]", port: int, endpoint: Endpoint) -> "list[Row]":
    """The sockets that can be in the endpoint's way; connections only if nothing else is: a server's are its own.

    Should none seem to be, then all on the port: a leftover of a dual-stack server on ::1 stands in the way of 0.0.0.0.
    """
    table = tables.get((endpoint.protocol, port)) or tables.get((endpoint.protocol, 0), {})
    rows = table.get(port, [])
    found = [row for row in rows if may_overlap(row.address, endpoint.host, v6only=row.v6only)] or rows
    return [row for row in found if row.state in ("LISTEN", "BOUND")] or found


def _occupants(rows: "list[Row]", owners: "dict[int, list[tuple[int, str]]]") -> "tuple[Occupant, ...]":
    return tuple(
        Occupant(
            row.protocol, row.address, row.port, row.state, row.uid,
            tuple(Process(*owner) for owner in owners.get(row.inode, ())),
        )
        for row in rows
    )  # fmt: skip
