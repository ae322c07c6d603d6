"""Occupants on other systems than Linux, as psutil tells them."""

from anyport._occupant import Occupant, Process
from anyport.errors import Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_BOUND = ("NONE", "CLOSE")  # what psutil calls a UDP socket, and a TCP socket that is bound only where that is shown


def occupants(ranges: "Sequence[range]", protocols: "Sequence[str]", *, processes: bool = True) -> "list[Occupant]":
    """Return the sockets with a local port in these ranges (none: with any), by ascending port.

    A socket that several processes share is there once for each.  Unsupported if psutil is not installed, or may not
    look: on macOS only root may.
    """
    psutil = _psutil()
    found: list[Occupant] = []
    for protocol in protocols:
        try:
            table = psutil.net_connections(protocol)
        except (psutil.Error, OSError) as error:
            raise Unsupported(f"psutil can't read the socket table: {error}", hint="run it as root") from None
        for each in table:
            if each.laddr and (not ranges or any(each.laddr.port in part for part in ranges)):
                found.append(_occupant(psutil, protocol, each, processes=processes))  # noqa: PERF401 - readable
    return sorted(found, key=lambda each: each.port)


def _psutil() -> "Any":  # noqa: ANN401 - it need not be installed where types are checked
    try:
        import psutil
    except ImportError:
        raise Unsupported(
            "elsewhere than on Linux the socket table is read by psutil, which is not installed",
            hint="pip install 'anyport[psutil]'",
        ) from None
    return psutil


def _occupant(psutil: "Any", protocol: str, each: "Any", *, processes: bool) -> Occupant:  # noqa: ANN401
    remote = each.raddr or (None, None)
    state = "BOUND" if each.status in _BOUND else each.status
    if each.raddr and state == "BOUND":  # psutil has no states for UDP
        state = "ESTABLISHED"
    process, uid, user = _process(psutil, each.pid) if processes and each.pid else (None, None, None)
    return Occupant(
        protocol, each.laddr[0], each.laddr[1], remote[0], remote[1], state, uid,
        user=user, processes=(process,) if process else (),
    )  # fmt: skip


def _process(psutil: "Any", pid: int) -> "tuple[Process, int | None, str | None]":  # noqa: ANN401
    """Return the process, and the uid and name of its user, as far as they may be seen."""
    try:
        found = psutil.Process(pid)
        uid = found.uids().real if hasattr(found, "uids") else None
        return Process(pid, found.name(), _command(psutil, found)), uid, found.username()
    except psutil.Error:
        return Process(pid, ""), None, None


def _command(psutil: "Any", process: "Any") -> "tuple[str, ...]":  # noqa: ANN401
    try:
        return tuple(process.cmdline())
    except psutil.Error:  # another user's
        return ()
