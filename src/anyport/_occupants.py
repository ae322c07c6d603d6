"""Occupants: which sockets have a port, whose they are, and why else a bind of it was refused."""

import os
from errno import EACCES, EADDRINUSE
from typing import NamedTuple

from anyport._address import Endpoint, may_overlap, write_address
from anyport._linux import sysctl
from anyport._linux.proc import socket_owners
from anyport._linux.sock_diag import Row, sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Process(NamedTuple):
    """A process that has a socket open: its pid and its name."""

    pid: int
    name: str

    def __str__(self) -> str:
        return f"{self.name or '?'} (pid {self.pid})"


class Occupant(NamedTuple):
    """A socket that has a port.

    `state` is the kernel's name (LISTEN, ESTABLISHED, TIME_WAIT, ...), or BOUND for a socket that is bound and does
    not listen.  `processes` holds those that the caller may see, which need not be all, or any.
    """

    protocol: str
    address: str
    port: int
    state: str
    uid: int
    processes: tuple[Process, ...]

    def __str__(self) -> str:
        where = f"{self.state} on {write_address(self.address, self.port)}"
        if self.processes:
            return f"{where}, {', '.join(map(str, self.processes))}"
        if self.state == "TIME_WAIT":
            return f"{where}, left over from a connection"
        return f"{where}, uid {self.uid}, its process can't be seen"


class Refusal(NamedTuple):
    """A number that was tried and refused: where, by which errno, and what has it as far as can be seen."""

    port: int
    protocol: str
    address: str
    errno: int
    occupants: tuple[Occupant, ...]

    @property
    def reason(self) -> str:
        """The cause in words."""
        if self.errno == EADDRINUSE:
            return f"in use: {'; '.join(map(str, self.occupants)) or 'by a socket that can not be seen'}"
        if self.errno == EACCES:
            first = sysctl.ip_unprivileged_port_start()
            if self.port < first:
                return f"not permitted: below net.ipv4.ip_unprivileged_port_start = {first}"
            return "not permitted by a security policy of this system"
        return f"{os.strerror(self.errno)} (errno {self.errno})"

    def __str__(self) -> str:
        return f"{self.port}/{self.protocol} is {self.reason}"


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
        Refusal(port, endpoint.protocol, endpoint.written, errno, _occupants(rows, owners))
        for (port, endpoint, errno), rows in zip(refused, found, strict=True)
    ]


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
    found = [row for row in rows if may_overlap(row.address, endpoint.host)] or rows
    return [row for row in found if row.state in ("LISTEN", "BOUND")] or found


def _occupants(rows: "list[Row]", owners: "dict[int, list[tuple[int, str]]]") -> "tuple[Occupant, ...]":
    return tuple(
        Occupant(
            row.protocol, row.address, row.port, row.state, row.uid,
            tuple(Process(*owner) for owner in owners.get(row.inode, ())),
        )
        for row in rows
    )  # fmt: skip
