"""The verb `wait`: until a port is listened on, or unused, as the socket table shows it.

It never connects: a connect can reach a stale server or a stranger's, fill a backlog, or even connect to itself.
"""

import sys
import time
from errno import EADDRINUSE
from operator import itemgetter

from anyport._clock import parse_duration
from anyport._ports import PortSet
from anyport._processes import check_pid
from anyport._who import look, table
from anyport._who.tree import Tree
from anyport._who.who import examine, protocols_of, read_ports
from anyport.errors import InvalidSelection, TimedOut

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from anyport._occupant import Occupant
    from anyport._ports import Number
    from anyport._who.who import Ports

LISTENING, UNUSED = "listening", "unused"
TIMEOUT = 30.0  # seconds
_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.05  # seconds
_HINT = "`anyport wait --help` shows what can be asked"
_EXAMPLE = "anyport wait 8080"
_MOST = 5  # ports that a message tells of
_SHARE = 60  # a pause is so many times as long as the look before it took of the processor: below 2 % of one


def wait(  # noqa: PLR0913 - one signature for all options of the question
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

    That somebody listens does not mean that it answers yet, nor, without `tree`, that it is the program you mean.  That
    a port is unused holds for the moment of the look only; and what is left over from connections without a process
    does not count, though it keeps a server without SO_REUSEADDR out, and one with it if what left it had not set it.
    For UDP, which has no listening state, a bound socket without a peer counts as listening.

    None of the ports is bound, but in one case: where the table lacks TCP sockets that are bound only (before Linux
    6.8, or where netlink is refused), one that seems unused is bound for some microseconds, to make sure.

    Args:
        port: a number, a text such as `"8080"` or `"7002-7011,8000"`, or several of them.
        until: `"listening"` or `"unused"`.
        timeout: seconds, or a text such as `"30s"`; None: without a limit; 0: one look.
        tree: a pid: only sockets of this process and its descendants count.
        strict: TIME_WAIT and what else is left over from connections counts as use.
        tcp: TCP, which is the default.
        udp: UDP; with `tcp` both.

    Raises:
        TimedOut: it did not come to that in time, or the process `tree` has ended without listening; `occupants` holds
            what stood in the way, on five ports at most.
        InvalidSelection: the question can't be asked.
        AnyportError: the sockets of `tree` can't be seen: it is another user's process; or, of `"unused"`, those of a
            descendant can't, and one of them may have the port.
        Unsupported, ResourceLimit: as for `who`; elsewhere than on Linux also for `tree`.
    """
    if until not in (LISTENING, UNUSED):
        raise InvalidSelection(f"{until!r} is nothing to wait for: it is {LISTENING} or {UNUSED}", hint=_HINT)
    if tree is not None and strict:
        raise InvalidSelection(
            "--strict and --tree can't be used together",
            hint="what is left over from connections belongs to no process",
        )
    ports = read_ports(port, hint=_EXAMPLE)
    if not ports:
        raise InvalidSelection("no port to wait for", hint=_EXAMPLE)
    protocols = protocols_of(tcp=tcp or not udp, udp=udp)
    limit = float("inf") if timeout is None else parse_duration(timeout)
    family = None if tree is None else Tree(check_pid(tree))
    try:
        _Waiting(ports, protocols, until, family, strict=strict).wait(limit)
    finally:
        if family:
            family.close()


class _Waiting:
    """What is waited for, and what is still missing of it."""

    def __init__(
        self, ports: PortSet, protocols: "Sequence[str]", until: str, tree: "Tree | None", *, strict: bool
    ) -> None:
        self._ports, self._protocols, self._until, self._tree, self._strict = ports, protocols, until, tree, strict

    def wait(self, limit: float) -> None:
        """Look until nothing is missing; TimedOut after so many seconds, or when the tree has come to its end."""
        missing: set[Number] = set()
        for _ in _looks(limit):
            ended = bool(self._tree and self._tree.has_ended())
            missing = self._still_in_use() if self._until == UNUSED else self._not_listening()
            if not missing:
                return
            if self._tree and ended and self._until == LISTENING:
                raise self._failure(missing, f"process {self._tree.pid} has ended", "")
        raise self._failure(missing, f"timed out after {limit:g} s", "a longer --timeout waits longer")

    def _not_listening(self) -> "set[Number]":
        bound = self._numbers(self._look(table.LISTENING))
        return set(look.numbers(self._ports, self._protocols)) - bound

    def _still_in_use(self) -> "set[Number]":
        # All states are a longer look: only when nothing listens or is bound any more.
        bound = self._numbers(self._look(table.WITHOUT_PEER))
        if bound:
            return bound
        found = [each for each in self._look() if self._strict or not each.is_left_over]
        if seen := self._numbers(found):
            return seen
        if self._tree:
            self._tree.check_others(found)
        return self._hidden()

    def _hidden(self) -> "set[Number]":
        """Return the ports that a bind is refused for, where the table lacks sockets that are bound only."""
        if not self._must_bind():
            return set()
        # With the option only past what is left over: it also succeeds past those who keep the port with it.
        left_over = {each.port for each in self._look()}
        all_of_tcp = look.numbers(self._ports, ["tcp"])
        binds = {number: look.errno_of_bind(number, reuse=number[1] in left_over) for number in all_of_tcp}
        return {number for number, errno in binds.items() if errno == EADDRINUSE}

    def _must_bind(self) -> bool:
        is_asked = self._until == UNUSED and "tcp" in self._protocols and not self._tree
        return is_asked and sys.platform == "linux" and not table.shows_bound_only()

    def _look(self, states: int = table.ALL) -> "list[Occupant]":
        return look.occupants(self._ports, self._protocols, states=states, processes=False)

    def _numbers(self, occupants: "Iterable[Occupant]") -> "set[Number]":
        """Return the ports that these have; of a tree, only those which it has."""
        found = list(occupants)
        if self._tree and found:  # its descriptors are many more than the sockets on these ports
            self._tree.look()
        return {look.number_of(each) for each in found if self._tree is None or self._tree.has(each)}

    def _failure(self, missing: "set[Number]", what: str, hint: str) -> TimedOut:
        shown = sorted(missing, key=itemgetter(1, 0))[:_MOST]
        ports = PortSet(range(port, port + 1) for _, port in shown)
        seen = look.look(ports, self._protocols, bind=self._must_bind())
        whose = f" that process {self._tree.pid} or its descendants have" if self._tree else ""
        goal = f", and no socket{whose} listens" if self._until == LISTENING else ""
        findings = examine(ports, self._protocols, seen, bind=False)
        verdicts = [each.verdict for each in findings if each.number in shown]
        more = [f"and {len(missing) - len(shown)} more"] if len(missing) > len(shown) else []
        text = f"{what}{goal}: {'; '.join([*verdicts, *more])}"
        occupants = [each for each in seen.occupants if look.number_of(each) in missing]
        return TimedOut(text, hint=self._hint(occupants, hint), occupants=occupants)

    def _hint(self, occupants: "Sequence[Occupant]", hint: str) -> str:
        if self._strict and self._until == UNUSED and occupants and all(each.is_left_over for each in occupants):
            return "without --strict what is left over from connections does not count"
        servers = [each for each in occupants if each.state == "LISTEN"]
        if not (self._until == LISTENING and self._tree and servers):
            return hint
        if not all(each.processes for each in servers) and (pid := self._tree.hidden()):
            return f"process {pid} may have it, and can't be looked into: root sees more"
        return "another process has it"


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
