"""The doctor's findings: this system, what works on it, its ephemeral ports and who has them, and the ledger.

Looking changes nothing: no claim is made, no ledger is begun, and what is bound was chosen as `find` chooses.
"""

import os
import sys
from pwd import getpwuid
from resource import RLIMIT_NOFILE, getrlimit
from typing import NamedTuple

from anyport._doctor.features import Feature, features, hand_overs
from anyport._find.candidates import offer_of
from anyport._ledger import health
from anyport._linux import sysctl
from anyport._linux.socket import own_netns_cookie
from anyport._ports import QUIET, PortSet, parse_ports
from anyport._version import __version__
from anyport._who.who import who

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_TOP = 5  # programs that are named


class System(NamedTuple):
    """What this is, and who asks; `descriptors` are RLIMIT_NOFILE, soft and hard (-1: no limit)."""

    kernel: str
    machine: str
    python: str
    anyport: str
    user: str
    uid: int
    descriptors: int
    descriptors_at_most: int


class Ports(NamedTuple):
    """The settings that say who may have which port; None for one that this kernel does not have, or does not show.

    `quiet` is how many numbers of the quiet range they leave.
    """

    low: int
    high: int
    reserved: str
    unprivileged_start: int
    quiet: int
    autobind_reuse: int | None
    tw_reuse: int | None

    @property
    def size(self) -> int:
        """Return the size of the ephemeral range."""
        return self.high - self.low + 1

    @property
    def given(self) -> "frozenset[int]":
        """Return the ports that the kernel gives of the ephemeral range: all but the reserved ones."""
        return frozenset(range(self.low, self.high + 1)).difference(parse_ports(self.reserved) if self.reserved else ())

    @property
    def available(self) -> int:
        """Return how many ports the kernel gives of the ephemeral range."""
        return len(self.given)


class Use(NamedTuple):
    """How many different ephemeral ports of a protocol are in use, by state and by program; reserved ones don't count.

    `programs` are the five that have most; `left_over` are ports of connections that no process has any more, `unseen`
    those whose process can't be seen.  One port may be counted in several places: connections have their server's port.
    """

    protocol: str
    ports: int
    states: dict[str, int]
    programs: dict[str, int]
    other_programs: int
    left_over: int
    unseen: int


class Findings(NamedTuple):
    """All that the doctor found out; where sockets can't be seen there are no uses."""

    system: System
    features: dict[str, Feature]
    hand_overs: list[str]
    ports: Ports
    uses: list[Use]
    why_no_uses: str
    ledger: health.Health


def examine() -> Findings:
    """Look at everything once."""
    found = features()
    ports = _ports()
    try:
        sockets = seen()
    except OSError as error:
        uses, why_no_uses = list[Use](), error.strerror or str(error)
    else:
        uses, why_no_uses = [use(protocol, ports, sockets) for protocol in ("tcp", "udp")], ""
    return Findings(_system(), found, hand_overs(found), ports, uses, why_no_uses, health.examine(own_netns_cookie()))


def _system() -> System:
    kernel = os.uname()
    user = os.geteuid()
    return System(
        kernel.release,
        kernel.machine,
        sys.version.split()[0],
        __version__,
        _name_of(user),
        user,
        *getrlimit(RLIMIT_NOFILE),
    )


def _name_of(user: int) -> str:
    try:
        return getpwuid(user).pw_name
    except KeyError:
        return ""


def _ports() -> Ports:
    reserved = sysctl.ip_local_reserved_ports()
    low, high = sysctl.ip_local_port_range()
    offer = offer_of(sysctl.PortSettings(low, high, reserved))
    return Ports(
        low, high, str(PortSet(range(port, port + 1) for port in reserved)), sysctl.ip_unprivileged_port_start(),
        sum(map(offer.is_quiet, QUIET)), _setting("net/ipv4/ip_autobind_reuse"), _setting("net/ipv4/tcp_tw_reuse"),
    )  # fmt: skip


def _setting(name: str) -> "int | None":
    try:
        return int(sysctl.read(name))
    except (OSError, ValueError):  # of a newer kernel, or a sandbox without /proc/sys
        return None


class Seen(NamedTuple):
    """A socket: its protocol, port and state, the names of its processes; `is_left` if no process has it any more."""

    protocol: str
    port: int
    state: str
    names: frozenset[str]
    is_left: bool


def seen() -> "list[Seen]":
    """Return all sockets; OSError where they can't be seen."""
    return [
        Seen(
            each.protocol, each.port, each.state, frozenset(process.name for process in each.processes), not each.inode
        )
        for each in who()
    ]


def use(protocol: str, ports: Ports, sockets: "Iterable[Seen]") -> Use:
    """Count the ephemeral ports of a protocol (pure)."""
    given = ports.given
    mine = [each for each in sockets if each.protocol == protocol and each.port in given]
    states: dict[str, set[int]] = {}
    programs: dict[str, set[int]] = {}
    for each in mine:
        states.setdefault(each.state, set()).add(each.port)
        for name in each.names:
            programs.setdefault(name or "?", set()).add(each.port)
    by_size = sorted(programs, key=lambda name: (-len(programs[name]), name))
    return Use(
        protocol,
        len({each.port for each in mine}),
        {state: len(states[state]) for state in sorted(states, key=lambda state: (-len(states[state]), state))},
        {name: len(programs[name]) for name in by_size[:_TOP]},
        len(set[int]().union(*(programs[name] for name in by_size[_TOP:]))),
        len({each.port for each in mine if each.is_left}),
        len({each.port for each in mine if not (each.is_left or each.names)}),
    )
