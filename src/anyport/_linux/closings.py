"""sock_diag(7) and net/core/sock_diag.c, the destroy groups: sockets that are closed.

The kernel tells the last state of each closed socket to whoever joined the groups (Linux 4.2+).  It does not tell whose
it was (the uid is 0 by then).  It tells more than a slow reader can keep, so all but the sockets without a port and a
peer are dropped by a filter: those that were closed without ever having been bound or connected, as after a refused
bind.
"""

import _socket
import os
import time
from errno import ENOBUFS
from select import select

from anyport._linux import bpf, netlink, sock_diag
from anyport._linux.socket import SO_COOKIE, mark

TYPE_CHECKING = False
if TYPE_CHECKING:
    from anyport._linux.row import Row

SKNLGRP_INET_TCP_DESTROY, SKNLGRP_INET_UDP_DESTROY, SKNLGRP_INET6_TCP_DESTROY, SKNLGRP_INET6_UDP_DESTROY = 1, 2, 3, 4
_GROUPS = {  # bit N - 1 for group N
    "tcp": 1 << SKNLGRP_INET_TCP_DESTROY - 1 | 1 << SKNLGRP_INET6_TCP_DESTROY - 1,
    "udp": 1 << SKNLGRP_INET_UDP_DESTROY - 1 | 1 << SKNLGRP_INET6_UDP_DESTROY - 1,
}
_OVERTAKEN = 0.03  # seconds
_SPORT_AT, _DPORT_AT = 20, 22  # in the message: behind the nlmsghdr and four bytes


class Closings:
    """Sockets of this network namespace that are closed from now on without port and peer; OSError if it is refused."""

    def __init__(self, protocol: str) -> None:
        self._protocol = protocol
        self._sock = _socket.socket(
            netlink.AF_NETLINK, _socket.SOCK_RAW | _socket.SOCK_NONBLOCK, sock_diag.NETLINK_SOCK_DIAG
        )
        try:
            bpf.attach(self._sock, bpf.all_zero((_SPORT_AT, _DPORT_AT)))
            self._sock.bind((0, _GROUPS[protocol]))
        except OSError:
            self._sock.close()
            raise

    def read(self) -> "list[Row]":
        """Return what was closed since the last call; of a flood only a part."""
        rows: list[Row] = []
        while True:
            try:
                datagram = self._sock.recv(1 << 16)
            except BlockingIOError:
                return rows
            except OSError as error:
                if error.errno != ENOBUFS:
                    raise
                continue
            rows += [sock_diag.parse(answer, self._protocol) for answer in netlink.rows(datagram)]

    def read_all(self, seconds: float) -> "list[Row]":
        """Return what was closed since the last call of this or of `read`, and before this one.

        The kernel tells it from a queue for each processor, which takes a while on a busy machine.  So we close a
        socket ourselves on each, and wait until that is told, at most so many seconds; and if there was nothing else, a
        little longer, for two that work off one queue may overtake each other.
        """
        mine = _close_one_everywhere(self._protocol)
        rows = self.read()
        end = time.monotonic() + seconds
        while mine - {row.cookie for row in rows} and (left := end - time.monotonic()) > 0:
            select([self._sock], (), (), left)
            rows += self.read()
        if mine >= {row.cookie for row in rows}:
            select([self._sock], (), (), _OVERTAKEN)
            rows += self.read()
        return [row for row in rows if row.cookie not in mine]

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._sock.close()


def _close_one_everywhere(protocol: str) -> "set[bytes]":
    """Close a socket of our own on each processor that we may use; return their cookies."""
    processors = os.sched_getaffinity(0)
    cookies: set[bytes] = set()
    try:
        for each in processors:
            os.sched_setaffinity(0, {each})
            cookies.add(_close_one(protocol))
    finally:
        os.sched_setaffinity(0, processors)
    return cookies


def _close_one(protocol: str) -> bytes:
    sock = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM if protocol == "tcp" else _socket.SOCK_DGRAM)
    try:
        mark(sock)
        return sock.getsockopt(_socket.SOL_SOCKET, SO_COOKIE, 8)
    finally:
        sock.close()
