"""The answer: an outcome with enough ports, claimed in the ledger."""

import os
from errno import EMFILE, ENFILE

from anyport import _portserver
from anyport._find.facts import facts
from anyport._find.search import Search
from anyport._ledger import keeper
from anyport._ledger.owner import is_claimed
from anyport._ledger.record import GIVEN, NAME, name_of, name_owner, process_of
from anyport.errors import AnyportError, ResourceLimit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

    from anyport._find.search import Outcome
    from anyport._find.selection import Selection
    from anyport._ledger.turns import Ledger
    from anyport._occupant import Refusal
    from anyport._portserver.client import Served
    from anyport.errors import Tell


OURSELVES, CALLER, NOBODY = "ourselves", "caller", ""  # whose a port is that a portserver gives


class Answer:
    """The ports, in the order of the labels, and what was refused on the way to them (looked up when asked for).

    `sockets` are those that hold each port, if they were to be held: the caller's to close.
    """

    server = ""  # that gave them: none

    def __init__(self, outcome: "Outcome", sockets: "dict[int, list[socket]]") -> None:
        self.ports = list(outcome.chosen)
        self.sockets = sockets
        self.hosts = list(dict.fromkeys(host for endpoint in outcome.endpoints for host in endpoint.hosts))
        self.protocols = list(dict.fromkeys(endpoint.protocol for endpoint in outcome.endpoints))
        self._outcome = outcome

    @property
    def refused(self) -> bool:
        """Tell whether any number was refused on the way."""
        return bool(self._outcome.refused)

    def refusals(self) -> "list[Refusal]":
        """Return the numbers that were refused on the way, each with what has it."""
        from anyport._who.occupants import explain

        return explain([(port, *refused) for port, refused in self._outcome.refused.items()])


def answer(selection: "Selection", tell: "Tell", *, hold: bool = False) -> Answer:
    """Choose ports and claim them, and on demand hold them; NoUnusedPort if there are too few.

    `tell` gets warnings (a promise that the caller did not give up is gone) and notes (an answer other than expected).
    """
    try:
        return _answer(selection, tell, hold=hold)
    except OSError as error:
        if isinstance(error, AnyportError) or error.errno not in (EMFILE, ENFILE):
            raise
        raise ResourceLimit.of(error, "the question can't be answered") from None


def answer_or_ask(selection: "Selection", tell: "Tell", owner: str) -> "Answer | Served":
    """Choose ports and claim them, or ask the portserver that the environment names, if it can serve this.

    `owner` is who is to have the ports then: OURSELVES, or the CALLER of the command; with NOBODY no server is asked.
    PortServerError if the server can't be asked, or gives none.
    """
    server = _portserver.address()
    if not (server and owner and selection.is_plain):
        return answer(selection, tell)
    from anyport._find.remarks import remark_on_served
    from anyport._portserver.client import Served, ask
    from anyport._processes import caller_pid

    pid = caller_pid() if owner == CALLER else os.getpid()
    served = Served(ask(server, pid, selection.count), server)
    remark_on_served(served.ports, tell)
    return served


def _answer(selection: "Selection", tell: "Tell", *, hold: bool) -> Answer:
    search = Search(selection, holding=hold)
    try:
        outcome = _search_and_claim(search, tell) if selection.keep else search.make(None)
        if not outcome.is_complete:
            from anyport._find.remarks import no_unused_port

            raise no_unused_port(outcome)
        if told := facts(outcome):
            from anyport._find.remarks import remark

            remark(outcome, told, tell)
        return Answer(outcome, search.probe.take_held())
    finally:
        search.probe.close()


def _search_and_claim(search: Search, tell: "Tell") -> "Outcome":
    return keeper.with_ledger(search.namespace, tell, lambda ledger: _with_ledger(search, ledger))


def _with_ledger(search: Search, ledger: "Ledger | None") -> "Outcome":
    if ledger is None:
        return search.make(None)
    outcome = _under_lock(search, ledger)
    if search.walk.needs_survey:
        ledger.survey(search.walk)
        outcome = _under_lock(search, ledger)
    return outcome


def _under_lock(search: Search, ledger: "Ledger") -> "Outcome":
    ledger.acquire()
    try:
        outcome = search.make(ledger)
        if outcome.is_complete:
            _claim(ledger, outcome)
    finally:
        ledger.release()
    return outcome


def _claim(ledger: "Ledger", outcome: "Outcome") -> None:
    keep = int(outcome.selection.keep * 1_000_000)
    for port, (record, name) in outcome.chosen.items():
        if process_of(record) and is_claimed(record, ledger.now):
            continue  # there was no other; the process that it was given to keeps it longer than we would
        owner = name or _name_kept(outcome, port, record)
        kind, field = (NAME, name_owner(owner, ledger.now)) if owner else (GIVEN, ledger.now)
        ledger.claim(port, keep, kind, field, record)


def _name_kept(outcome: "Outcome", port: int, record: bytes) -> int:
    """Return the name that a number is still claimed for, or 0, if it was named outright: most likely by its user."""
    return name_of(record) if port in outcome.selection.preferred and is_claimed(record, outcome.now) else 0
