"""The answer: a choice, claimed in the ledger."""

import os
from errno import EMFILE, ENFILE

from anyport import _portserver
from anyport._find.search import Choice
from anyport._ledger import keeper
from anyport._ledger.owner import is_claimed
from anyport._ledger.record import GIVEN, NAME, name_owner, process_of
from anyport._ledger.turns import SurveyNeeded, survey
from anyport.errors import AnyportError, ResourceLimit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from anyport._find.selection import Selection
    from anyport._ledger.book import Book
    from anyport._occupant import Refusal
    from anyport._portserver.client import Served

    Tell = Callable[[str, str, str], None]  # "warning" or "note", the message, a hint or an empty text


OURSELVES, CALLER, NOBODY = "ourselves", "caller", ""  # whose a port is that a portserver gives


class Answer:
    """The ports, in the order of the labels, and what was refused on the way to them (looked up when asked for).

    `sockets` are those that hold each port, if they were to be held: the caller's to close.
    """

    server = ""  # that gave them: none

    def __init__(self, choice: Choice) -> None:
        self.ports = list(choice.chosen)
        self.sockets = choice.probe.take_held()
        self.hosts = list(dict.fromkeys(host for endpoint in choice.probe.endpoints for host in endpoint.hosts))
        self.protocols = list(dict.fromkeys(endpoint.protocol for endpoint in choice.probe.endpoints))
        self._choice = choice

    @property
    def refused(self) -> bool:
        """Whether any number was refused on the way."""
        return bool(self._choice.refused)

    def refusals(self) -> "list[Refusal]":
        from anyport._who.occupants import explain

        return explain([(port, *refused) for port, refused in self._choice.refused.items()])


def answer(selection: "Selection", tell: "Tell", *, hold: bool = False) -> Answer:
    """Choose and claim, and on demand hold; NoUnusedPort if there are too few.

    `tell` gets warnings (a promise that the caller did not give up is gone) and notes (an answer other than expected).
    """
    try:
        return _answer(selection, tell, hold=hold)
    except OSError as error:
        if isinstance(error, AnyportError) or error.errno not in (EMFILE, ENFILE):
            raise
        raise ResourceLimit.of(error, "the question can't be answered") from None


def answer_or_ask(selection: "Selection", tell: "Tell", owner: str) -> "Answer | Served":
    """The same, but from the portserver that the environment names, if there is one and it can serve this.

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
    choice = Choice(selection, holding=hold)
    try:
        found = _choose_and_claim(choice, tell) if selection.keep else choice.make(None)
        if not (found and _is_as_expected(choice)):
            from anyport._find import remarks

            if not found:
                raise remarks.no_unused_port(choice)
            remarks.remark(choice, tell)
        return Answer(choice)
    finally:
        choice.probe.close()


def _choose_and_claim(choice: Choice, tell: "Tell") -> bool:
    def warn(message: str, hint: str) -> None:
        tell("warning", message, hint)

    return keeper.with_book(choice.namespace, warn, lambda book: _under_lock(choice, book))


def _under_lock(choice: Choice, book: "Book | None") -> bool:
    if book is None:
        return choice.make(None)
    try:
        return _choose_under_lock(choice, book)
    except SurveyNeeded:
        choice.seen = survey(book, choice.offer.is_quiet)
        return _choose_under_lock(choice, book)


def _choose_under_lock(choice: Choice, book: "Book") -> bool:
    book.acquire()
    try:
        found = choice.make(book)
        if found:
            keep = int(choice.selection.keep * 1_000_000)
            for port, (record, name) in choice.chosen.items():
                if process_of(record) and is_claimed(record, book.now):
                    continue  # there was no other; the process that it was given to keeps it longer than we would
                owner = name or choice.name_kept(port, record)
                kind, field = (NAME, name_owner(owner, book.now)) if owner else (GIVEN, book.now)
                book.claim(port, keep, kind, field, record)
    finally:
        book.release()
    return found


def _is_as_expected(choice: Choice) -> bool:
    """Whether there is nothing to tell: the usual case, which does without the words for all others."""
    selection, settings = choice.selection, choice.settings
    return (
        not choice.moved
        and not any(choice.tried.get(port) or port in selection.exclude for port in selection.preferred)
        and not (selection.contiguous and selection.preferred and selection.preferred[0] not in choice.chosen)
        and not (choice.may_lose_to_kernel and any(map(settings.is_ephemeral, choice.chosen)))
        and not any(
            is_claimed(record, choice.now, name)
            for port, (record, name) in choice.chosen.items()
            if port not in selection.preferred
        )
    )
