"""The verdict on one port: in use, unused or not to be bound, and what else is worth knowing (pure)."""

from errno import EADDRINUSE
from typing import NamedTuple

from anyport._occupant import UNSEEN, sentence
from anyport._ports import BAD_PORTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from anyport._linux.sysctl import PortSettings
    from anyport._occupant import Occupant, Process
    from anyport._ports import Number


class Circumstances(NamedTuple):
    """What there is to know of a port besides its sockets.

    `errno` is that of a bind, 0 if it succeeded, None if it was not tried; `refused` says why in words.
    `shows_bound_only` is whether the table has all sockets, `has_proc` whether /proc is that of our processes,
    `sees_all` whether it shows whose the sockets are; `uid` is the user who asks.  `reuse` is the errno of a bind with
    SO_REUSEADDR past what is left over; `given` holds the seconds since anyport gave the number out, and until its
    claim ends; `given_to` is the pid of the living process that a portserver gave it to, or 0.
    """

    errno: int | None = None
    refused: str = ""
    shows_bound_only: bool = False
    has_proc: bool = True
    sees_all: bool = True
    uid: int = 0
    reuse: int | None = None
    settings: "PortSettings | None" = None
    given: tuple[float, float] | None = None
    given_to: int = 0


# Programs that listen for a container, by the name of their process, and the command that lists containers' ports.
_PROXIES = {
    "docker-proxy": "docker ps --filter publish={port}", "rootlessport": "podman ps --filter publish={port}",
    "slirp4netns": "podman ps", "pasta": "podman ps", "pasta.avx2": "podman ps", "com.docker.backe": "docker ps",
}  # fmt: skip


def verdict(number: "Number", occupants: "Sequence[Occupant]", known: "Circumstances") -> str:
    """Say in one line whether somebody has the port, and who; else whether it could be bound."""
    protocol, port = number
    if occupants:
        return f"{port}/{protocol} is in use: {sentence(main(occupants))}"
    unused = "is unused" if known.errno == 0 or known.shows_bound_only else "has no socket that can be seen"
    but = f", but can't be bound by you: {known.refused}" if known.errno else ""
    return f"{port}/{protocol} {unused}{but}"


def main(occupants: "Sequence[Occupant]") -> "list[Occupant]":
    """Return those that matter most: servers before what is bound only, before connections; a server's are its own."""
    for states in (("LISTEN",), ("BOUND", UNSEEN)):
        if found := [each for each in occupants if each.state in states]:
            return found
    return [each for each in occupants if not each.is_left_over] or list(occupants)


def notes(number: "Number", occupants: "Sequence[Occupant]", known: "Circumstances") -> "list[str]":
    """Say what else is worth knowing, a line each."""
    return [*_of_occupants(number[1], occupants, known), *_of_number(number, occupants, known)]


def _of_occupants(port: int, occupants: "Sequence[Occupant]", known: "Circumstances") -> "list[str]":
    found: list[str] = []
    for process in dict.fromkeys(process for each in occupants for process in each.processes):
        if verb := verb_of(process):
            found.append(f"held by `anyport {verb}` (pid {process.pid})")
        elif process.name in _PROXIES:
            names = _PROXIES[process.name].format(port=port)
            found.append(f"{process.name} listens for a container: `{names}` names it")
    if hidden := [each for each in occupants if each.inode and not each.processes]:
        found.append(_unseen_process(port, {each.uid for each in hidden}, known))
    if any(each.state == UNSEEN for each in occupants):
        found.append(_unseen_socket(known))
    if known.reuse == 0:
        found.append("a server with SO_REUSEADDR, as nearly all set it, can bind it all the same")
    elif known.reuse == EADDRINUSE:
        found.append(
            "not even a server with SO_REUSEADDR can bind it before that ends: what left it had not set the option"
        )
    elif known.reuse:
        found.append(f"it can't be bound by you: {known.refused}")
    return found


def _unseen_process(port: int, uids: "set[int | None]", known: "Circumstances") -> str:
    if known.sees_all:
        return "no process here has that socket: perhaps it is the kernel's own (NFS, WireGuard), or a container's"
    if not known.has_proc:
        return "/proc, which would show the process, is not mounted here, or is another pid namespace's"
    if known.uid == 0:
        return "it takes CAP_SYS_PTRACE, and no policy against it, to see the process: ask outside of the container"
    if known.uid in uids:
        return f"the process does not let its user look into it; root sees it: `sudo anyport who {port}`"
    return f"only its user and root can see which process has it: `sudo anyport who {port}`"


def _unseen_socket(known: "Circumstances") -> str:
    if known.shows_bound_only:
        return "a bind of it is refused (EADDRINUSE), and no socket of this network namespace is shown to have it"
    return "a bind of it is refused (EADDRINUSE); sockets that are bound and do not listen are not shown here"


def _of_number(number: "Number", occupants: "Sequence[Occupant]", known: "Circumstances") -> "list[str]":
    protocol, port = number
    found: list[str] = []
    settings = known.settings
    if known.given:
        ago, left = known.given
        found.append(f"given out by anyport {ago:.0f} s ago; other callers get another one for {left:.0f} s more")
    if known.given_to:
        found.append(f"given to process {known.given_to} by a portserver, until that process ends")
    if settings and port in settings.reserved:
        found.append("in net.ipv4.ip_local_reserved_ports: the kernel gives it to nobody by itself")
    elif settings and settings.is_ephemeral(port) and not occupants:
        found.append(
            f"inside the ephemeral range {settings.low}-{settings.high}, so an outgoing connection may take it"
        )
    if protocol == "tcp" and port in BAD_PORTS:
        found.append("on the list of ports that browsers refuse")
    return found


def verb_of(process: "Process") -> str:
    """Return `hold`, `run` or `serve` if the process is one of these verbs of anyport, else an empty text."""
    if process.name == "anyport-hold":
        return "hold"
    words = list(process.command)
    if words and _base(words[0]) != "anyport":  # then it is the interpreter
        words.pop(0)
        while words and words[0].startswith("-") and words[0] not in ("-", "-c"):
            del words[: 1 + (words[0] in ("-W", "-X"))]
        if words[:1] == ["-c"] and words[1:2] and "anyport.__main__" in words[1]:  # as the library starts it
            words = ["anyport", *words[3:]]
    return words[1] if words[1:] and _base(words[0]) == "anyport" and words[1] in ("hold", "run", "serve") else ""


def _base(word: str) -> str:
    return word.rpartition("/")[2]
