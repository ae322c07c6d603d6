"""proc_pid_net(5), /proc/net/{tcp,tcp6,udp,udp6}: the socket table where sock_diag is refused.

It does not show TCP sockets that are bound and do not listen, nor IPV6_V6ONLY, nor the interface.
"""

import _socket
import os
import sys

from anyport._linux.row import Row
from anyport._linux.sock_diag import STATES
from anyport._linux.sysctl import read_whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_TICKS = 100  # a second: USER_HZ, in which /proc tells times on every architecture but alpha and ia64
_TIMEWAIT_TIMER = "03"


def sockets(protocol: str) -> "list[Row]":
    """Return the sockets of this network namespace but bound-only TCP ones; OSError if /proc does not show them.

    A missing table for IPv6 is a kernel without it.
    """
    # A thread may be in another network namespace than its process, which /proc/net shows.
    folder = "/proc/thread-self/net" if os.path.exists("/proc/thread-self/net") else "/proc/net"
    rows = list(parse(read_whole(f"{folder}/{protocol}"), protocol))
    try:
        return rows + list(parse(read_whole(f"{folder}/{protocol}6"), protocol))
    except FileNotFoundError:
        return rows


def parse(text: bytes, protocol: str) -> "Iterator[Row]":
    """Read the rows of one file; OSError for a line that is none."""
    for line in text.decode("ascii", "replace").splitlines()[1:]:
        words = line.split()
        try:
            yield _row(protocol, words)
        except (IndexError, ValueError, OverflowError):
            raise OSError(f"a line of /proc/net/{protocol} that can't be read: {line[:80]!r}") from None


def _row(protocol: str, words: "list[str]") -> Row:
    # sl, local, remote, state, tx:rx, timer:when, retransmits, uid, timeout, inode
    address, port = _endpoint(words[1])
    remote_address, remote_port = _endpoint(words[2])
    state, uid, inode = int(words[3], 16), int(words[7]), int(words[9])
    timer, _, when = words[5].partition(":")
    return Row(
        protocol, address, port,
        remote_address=remote_address if remote_port else None, remote_port=remote_port or None,
        state=STATES.get(state) or f"state {state}", uid=uid if inode or uid else None, inode=inode,
        seconds_left=int(when, 16) / _TICKS if timer == _TIMEWAIT_TIMER else None,
    )  # fmt: skip


def _endpoint(word: str) -> "tuple[str, int]":
    """Read `0100007F:1F90` as 127.0.0.1 and 8080: words of 32 bits in the machine's own order, then the port."""
    data, port = map(bytes.fromhex, word.split(":"))
    if sys.byteorder == "little":
        data = b"".join(data[at : at + 4][::-1] for at in range(0, len(data), 4))
    if len(data) not in (4, 16) or len(port) != 2:
        raise ValueError(word)
    return _socket.inet_ntop(_socket.AF_INET if len(data) == 4 else _socket.AF_INET6, data), int.from_bytes(port, "big")
