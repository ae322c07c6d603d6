"""find: an unused port, or several."""

from anyport import _portserver
from anyport._find.found import NOBODY, OURSELVES, answer, answer_or_ask
from anyport._find.reserved import take
from anyport._find.selection import KEEP, Selection, select_many, select_one
from anyport.errors import AnyportWarning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Unpack

    from anyport._find.selection import ManyOptions, OneOptions

_ANYTHING = Selection()


def find(port: "int | Iterable[int] | None" = None, *, portserver: bool = True, **options: "Unpack[OneOptions]") -> int:
    """Find an unused port: a real bind succeeded on every address that was asked for.

    Nothing holds the port afterwards.  Other callers of anyport by this user who may choose keep away from it for
    `keep` seconds, and outside the ephemeral range the kernel gives it to nobody by itself; a program that names the
    number can take it.

    Args:
        port: a number, or several, to try first (1-65535).  One whose only leftovers are TIME_WAIT is accepted.
        only: nothing but these numbers (or but the name's own one) will do.
        ephemeral: let the kernel choose, by bind to port 0, instead of the quiet range.
        from_: the first unused number at or above this one.
        in_: one of these: `"7002-7011,8000"`, a range or an iterable of int.
        order: for `in_`: `"random"` (default) or `"ascending"`.
        name: the same number each time for this user and name, while it is unused.
        here: the same for the git work tree around the current folder, or for that folder.
        as_: a second number of the same name: part of the name.
        exclude: numbers never to give, written as for `in_`.
        host: an address or host name, or several: where the port must be unused (default: every local address, IPv4
            and IPv6).  A name means every address it resolves to.
        tcp, udp: the protocols for which it must be unused (default: TCP; both: one number for both).
        keep: seconds, or a text such as `"10m"`: how long other callers choose another one.  0 does without the ledger.
            At most 24 hours.
        strict: a number with leftovers in TIME_WAIT counts as used even if it was named.
        portserver: where PORTSERVER_ADDRESS is set, and nothing but how many ports is asked for, ask that server, as
            portpicker does.  What it gives is this process's until that ends, and is not probed again.

    Raises:
        InvalidSelection: the question can't be asked; nothing was tried.
        NoUnusedPort: all that was asked for is used; `refusals` has what is using it.
        AddressUnavailable: a host does not resolve, or is no address of this machine.
        PortServerError: the server that PORTSERVER_ADDRESS names can't be asked, or has none to give.
        ResourceLimit: the process or the system has no descriptor left.

    Warns:
        AnyportWarning: the ledger can't be used, or there is no quiet range.

    The rules of bind: bind(2), ip(7), tcp(7) and net/ipv4/inet_connection_sock.c.
    """
    if port is None and not options:
        if portserver and _portserver.address():
            return answer_or_ask(_ANYTHING, warn, OURSELVES).ports[0]
        return take(KEEP, warn) or answer(_ANYTHING, warn).ports[0]
    return answer_or_ask(select_one("find", port, options), warn, OURSELVES if portserver else NOBODY).ports[0]


def find_many(
    count: "int | None" = None,
    *,
    port: "int | Iterable[int] | None" = None,
    portserver: bool = True,
    **options: "Unpack[ManyOptions]",
) -> "list[int]":
    """Find several different unused ports, all or none.

    Nothing holds them afterwards; see `find`, which has the same options and errors.

    Args:
        count: how many (1-65535; default: as many as labels in `as_`, else 1).
        contiguous: consecutive numbers, in ascending order.
        as_: labels; with `name` or `here` each is a number of its own under that name.

    Returns:
        A list of `count` int, in the order of the labels.
    """
    selection = select_many("find_many", count, port, options)
    return answer_or_ask(selection, warn, OURSELVES if portserver else NOBODY).ports


def warn(kind: str, message: str, hint: str) -> None:
    """Tell the caller of the library: warnings as AnyportWarning where the library was called, notes not at all."""
    if kind == "warning":
        import sys
        import warnings

        # warnings.warn can skip a package's own frames only from Python 3.12 on.
        level, frame = 1, sys._getframe()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        while frame.f_back and frame.f_globals.get("__name__", "").startswith("anyport."):
            level, frame = level + 1, frame.f_back
        warnings.warn(f"{message} ({hint})" if hint else message, AnyportWarning, stacklevel=level)
