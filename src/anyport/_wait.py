"""The verb `wait`: until a port is listened on, or unused, as the socket table shows it.

It never connects: a connect can reach a stale server or a stranger's, fill a backlog, or even connect to itself.
"""

import os
import sys
import time
from select import select

from anyport._clock import parse_duration
from anyport._ports import PortSet
from anyport._who import examine, look, protocols_of, read_ports
from anyport.errors import InvalidSelection, TimedOut, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from anyport._refusal import Occupant
    from anyport._who import Ports

LISTENING, UNUSED = "listening", "unused"
TIMEOUT = 30.0  # seconds
_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.05  # seconds
_MOST = 5  # ports that a message tells of
_SHARE = 60  # a pause is so many times as long as the look before it took of the processor: below 2 % of one


def wait(  # noqa: PLR0913 - one signature for all the words of the question
    port: "Ports",
    *,
    until: str = LISTENING,
    timeout: "float | str | None" = TIMEOUT,
    tree: "int | None" = None,
    strict: bool = False,
    tcp: bool = False,
    udp: bool = False,
) -> None:
    """Wait until every one of these ports is listened on, or unused, as the kernel's socket table shows it.

    That somebody listens does not mean that it answers yet, nor, without `tree`, that it is the program you mean; that
    a port is unused holds for the moment of the look only, and sockets that the table does not show (bound-only ones of
    TCP before Linux 6.8, or where netlink is refused) are not waited for.  For UDP, which has no listening state, a
    bound socket without a peer counts as listening.

    Args:
        port: a number, a text such as `"8080"` or `"7002-7011,8000"`, or several of them.
        until: `"listening"` or `"unused"`.
        timeout: seconds, or a text such as `"30s"`; None: without a limit; 0: one look.
        tree: a pid: only sockets of this process and its descendants count.
        strict: TIME_WAIT and what else is left over from connections counts as use; a server with SO_REUSEADDR
            ignores it.
        tcp: TCP, which is the default.
        udp: UDP; with `tcp` both.

    Raises:
        TimedOut: it did not come to that in time; `occupants` holds what stood in the way.
        InvalidSelection: the question can't be asked, or there is no process `tree`.
        Unsupported: as for `who`; elsewhere than on Linux also for `tree`.
    """
    if until not in (LISTENING, UNUSED):
        raise InvalidSelection(f"{until!r} is nothing to wait for: it is {LISTENING} or {UNUSED}")
    if tree is not None and strict:
        raise InvalidSelection("--strict and --tree can't be used together", hint="what is left over is nobody's")
    ports = read_ports(port)
    if not ports:
        raise InvalidSelection("no port to wait for", hint="anyport wait 8080")
    protocols = protocols_of(tcp=tcp or not udp, udp=udp)
    limit = float("inf") if timeout is None else parse_duration(timeout)
    family = None if tree is None else _Tree(tree)
    try:
        _Waiting(ports, protocols, until, family, strict=strict).wait(limit)
    finally:
        if family:
            family.close()


class _Tree:
    """A process and its descendants, and the sockets that they have, or have had since we look."""

    def __init__(self, pid: int) -> None:
        if sys.platform != "linux":
            raise Unsupported("a tree of processes can be seen on Linux only", hint="wait without it")
        from anyport._caller import process

        self.pid = pid
        self._inodes: set[int] = set()
        self._fd = process(pid)

    def look(self) -> None:
        from anyport._linux.proc import tree_inodes

        self._inodes |= tree_inodes(self.pid)

    def has(self, each: "Occupant") -> bool:
        return each.inode in self._inodes

    def has_ended(self) -> bool:
        """Whether the process itself has: then it can't be told any more what it started."""
        return bool(select([self._fd], (), (), 0)[0])

    def close(self) -> None:
        os.close(self._fd)


class _Waiting:
    """What is waited for, and what is still missing of it."""

    def __init__(
        self, ports: PortSet, protocols: "Sequence[str]", until: str, tree: "_Tree | None", *, strict: bool
    ) -> None:
        self._ports, self._protocols, self._until, self._tree, self._strict = ports, protocols, until, tree, strict

    def wait(self, limit: float) -> None:
        """Look until nothing is missing; TimedOut after so many seconds, or when the tree has come to its end."""
        missing: set[tuple[int, str]] = set()
        for _ in _looks(limit):
            ended = self._tree and self._until == LISTENING and self._tree.has_ended()
            missing = self._missing()
            if not missing:
                return
            if ended and self._tree:
                raise self._failure(missing, f"process {self._tree.pid} has ended")
        raise self._failure(missing, f"timed out after {limit:g} s")

    def _missing(self) -> "set[tuple[int, str]]":
        """The ports (with their protocols) that are not yet as they should be."""
        if self._tree:
            self._tree.look()
        bound = self._numbers(each for each in self._look(connections=False) if _is_bound(each, self._until))
        if self._until == LISTENING:
            return {(port, protocol) for port in self._ports for protocol in self._protocols} - bound
        # All states are a longer look: only when nothing listens or is bound any more.
        return bound or self._numbers(
            each for each in self._look(connections=True) if self._strict or not each.is_left_over
        )

    def _look(self, *, connections: bool) -> "list[Occupant]":
        return look(self._ports, self._protocols, connections=connections, processes=False, bind=False).occupants

    def _numbers(self, occupants: "Iterable[Occupant]") -> "set[tuple[int, str]]":
        return {(each.port, each.protocol) for each in occupants if self._tree is None or self._tree.has(each)}

    def _failure(self, missing: "set[tuple[int, str]]", what: str) -> TimedOut:
        ports = PortSet(range(port, port + 1) for port, _ in missing)
        seen = look(ports, self._protocols, bind=False)
        whose = f" that process {self._tree.pid} or its descendants have" if self._tree else ""
        goal = f", and no socket{whose} listens" if self._until == LISTENING else ""
        verdicts = [each.verdict for each in examine(ports, self._protocols, seen) if each.number in missing]
        text = "; ".join([*verdicts[:_MOST], *([f"and {len(verdicts) - _MOST} more"] if len(verdicts) > _MOST else [])])
        return TimedOut(f"{what}{goal}: {text}", hint=self._hint(seen.occupants), occupants=seen.occupants)

    def _hint(self, occupants: "Sequence[Occupant]") -> str:
        if self._until == UNUSED and occupants and all(each.is_left_over for each in occupants):
            return "without --strict what is left over from connections does not count"
        if self._until == LISTENING and self._tree and any(each.state == "LISTEN" for each in occupants):
            return "another process has it"
        return "--timeout 5m waits longer"


def _is_bound(each: "Occupant", until: str) -> bool:
    """Whether it listens, as far as its protocol knows that; for `unused` being bound is enough."""
    return until == UNUSED or each.protocol == "udp" or each.state == "LISTEN"


def _looks(limit: float) -> "Iterator[None]":
    """Yield at once, then after pauses from 1 to 50 ms, and longer ones where looks are dear; last when time is up."""
    end, pause = time.monotonic() + limit, _FIRST_PAUSE
    while True:
        begin = time.thread_time()
        yield
        cost = time.thread_time() - begin
        left = end - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(pause, left))
        pause = min(pause * 2, max(_LONGEST_PAUSE, cost * _SHARE))
