"""Attackers on ports: processes of this user and another that take what they can get, by name and from the kernel.

One attack is for many ports at once.  Run as a script, this file is one attacker; imported, it starts them and adds up.
"""

import errno
import json
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from anyport._clock import pauses

ADDRESSES = {
    "::1": (socket.AF_INET6, "::1", 1),
    "127.0.0.1": (socket.AF_INET, "127.0.0.1", 0),
    "127.0.0.2": (socket.AF_INET, "127.0.0.2", 0),
    "0.0.0.0": (socket.AF_INET, "0.0.0.0", 0),
    ":: v6only": (socket.AF_INET6, "::", 1),
    ":: dual": (socket.AF_INET6, "::", 0),
}
PLAIN, REUSEADDR, REUSEPORT, BOTH = "plain", "reuseaddr", "reuseport", "both"
OPTIONS = {
    PLAIN: [],
    REUSEADDR: [socket.SO_REUSEADDR],
    REUSEPORT: [socket.SO_REUSEPORT],
    BOTH: [socket.SO_REUSEADDR, socket.SO_REUSEPORT],
}
KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
SAME, OTHER = 0, 65534  # uids
SHORT_CLAIM = 0.001  # seconds
CHOOSERS = 9
MINIMUM = 10_000  # attempts on each cell of the table
SWEEPS = 20  # over options and addresses: a storm keeps up to 480 sockets, more than the kernel has ports to give
_FULL = (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EAGAIN)


class Target(NamedTuple):
    """A port under attack, and the options of those who name it."""

    port: int
    protocol: str = "tcp"
    options: tuple[str, ...] = tuple(OPTIONS)


def _socket(protocol: str, option: str, address: str) -> socket.socket:
    family, _, v6only = ADDRESSES[address]
    sock = socket.socket(family, KINDS[protocol])
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6only)
    for name in OPTIONS[option]:
        sock.setsockopt(socket.SOL_SOCKET, name, 1)
    return sock


class Rounds:
    """Counts until the time is over and the minimum is reached; all attackers begin together."""

    def __init__(self, seconds: float, minimum: int) -> None:
        self.seconds, self.minimum, self.done, self.begin, self.end = seconds, minimum, 0, 0.0, 0.0

    def __iter__(self) -> Iterator[int]:
        print("ready", flush=True)
        sys.stdin.readline()
        self.begin = time.monotonic()
        while time.monotonic() < self.begin + self.seconds or self.done < self.minimum:
            yield self.done
            self.done += 1
        self.end = time.monotonic()


def _name(rounds: Rounds, targets: dict[str, Target]) -> Any:
    """Bind each number, and listen: with every option, on every address.  What was got is let go at once."""
    taken: dict[str, tuple[int, int, float, float]] = {}
    ways = [
        (protocol, option, address, [(f"{cell}/{option}/{address}", each.port) for cell, each in targets.items()
                                     if each.protocol == protocol and option in each.options])
        for protocol in KINDS for option in OPTIONS for address in ADDRESSES
    ]  # fmt: skip
    for _ in rounds:
        for protocol, option, address, ports in ways:
            sock, host = _socket(protocol, option, address), ADDRESSES[address][1]
            for cell, port in ports:
                begin = time.monotonic()
                try:
                    sock.bind((host, port))  # one that was refused may try again
                except OSError as error:
                    if error.errno != errno.EADDRINUSE:
                        raise
                    continue
                end, listens = time.monotonic(), _listens(sock)
                sock.close()
                sock = _socket(protocol, option, address)
                count, listening, first, _ = taken.get(cell, (0, 0, end, begin))
                taken[cell] = count + 1, listening + listens, first, begin
            sock.close()
    return {"taken": taken}


def _listens(sock: socket.socket) -> bool:
    """Whether it was let in for good; a datagram socket need not ask again."""
    try:
        if sock.type == socket.SOCK_STREAM:
            sock.listen()
    except OSError:
        return False
    return True


def _storm(rounds: Rounds, servers: int, protocol: str) -> Any:
    """Have the kernel choose, for bind(0) and for connect in turn, keeping all until it has nothing left to give."""
    listeners = [socket.create_server((host, servers), family=ADDRESSES[host][0]) for host in ("127.0.0.1", "::1")]
    given: Counter[str] = Counter()
    kept: list[socket.socket] = []
    for number in rounds:
        what = ("connect", "bind")[number % 2]
        for option, address in [(option, address) for option in OPTIONS for address in ADDRESSES] * SWEEPS:
            kept.append(sock := _socket(protocol, option, address))
            try:
                if what == "bind":
                    sock.bind((ADDRESSES[address][1], 0))
                else:
                    _connect(sock, listeners[sock.family == socket.AF_INET6])
                given[f"{sock.getsockname()[1]}/{what}/{option}"] += 1
            except OSError as error:
                if error.errno not in _FULL:
                    raise
                _reset(kept)
        _reset(kept)
    _reset(listeners)
    return {"given": given, "protocol": protocol}


def _connect(sock: socket.socket, server: socket.socket) -> None:
    sock.connect(server.getsockname()[:2])
    if sock.type == socket.SOCK_STREAM:
        server.accept()[0].close()


def _reset(socks: list[socket.socket]) -> None:
    """Close without TIME_WAIT."""
    while socks:
        with socks.pop() as sock:
            if sock.type == socket.SOCK_STREAM:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def _choose(rounds: Rounds, choices: dict[str, str]) -> Any:
    """Ask `anyport.find` for one of a list: by the ledger, with claims that soon end, and some times without it."""
    import warnings

    import anyport

    warnings.simplefilter("ignore", anyport.AnyportWarning)  # that the kernel may give away what is ephemeral
    chosen: Counter[str] = Counter()
    for number in rounds:
        protocol = list(KINDS)[number % 2]
        words: dict[str, Any] = {"in_": choices[protocol], "udp": protocol == "udp"}
        chosen[f"{anyport.find(order='ascending', keep=SHORT_CLAIM, **words)}/claimed/{protocol}"] += 1
        if number % 8 < 2:
            chosen[f"{anyport.find(keep=0, **words)}/alone/{protocol}"] += 1
    return {"chosen": chosen}


def attack(
    targets: dict[str, Target],
    *,
    seconds: float = 0,
    attempts: int = 0,
    spares: str = "",
    what: Collection[str] = ("name",),
    meanwhile: "Callable[[Sequence[subprocess.Popen[str]]], object]" = lambda _children: None,
) -> list[dict[str, Any]]:
    """Attack all targets at once for so long and so many attempts on each; what each attacker reports.

    `what` are the kinds of attack: by name, by the kernel's choice, by anyport's; `spares` are what those who choose by
    that may have as well.  `meanwhile` gets the attackers, those by name first.
    """
    uids = (SAME, OTHER)
    each = attempts // (len(uids) * 2 * len(ADDRESSES)) + 1  # with each option; two processes of each user
    plan: list[tuple[int, Any]] = [(uid, ["name", seconds, each, targets]) for uid in uids * 2]
    if "name" not in what:
        plan.clear()
    if "storm" in what:
        each = attempts // (len(uids) * SWEEPS * len(OPTIONS) * len(ADDRESSES)) * 2 + 2  # half of them are connections
        storms = enumerate((uid, protocol) for uid in uids for protocol in KINDS)
        plan += [(uid, ["storm", seconds, each, 9001 + number, protocol]) for number, (uid, protocol) in storms]
    if "choose" in what:
        choices = {
            protocol: ",".join([spares, *(str(port) for port, kind, _ in targets.values() if kind == protocol)])
            for protocol in KINDS
        }
        plan += [(SAME, ["choose", seconds, attempts // CHOOSERS + 1, choices])] * CHOOSERS
    command = [sys.executable, "-W", "error", __file__]
    children = [
        subprocess.Popen(
            [*command, str(uid), json.dumps(what)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for uid, what in plan
    ]
    try:
        for child in children:
            assert child.stdout
            assert child.stdout.readline() == "ready\n"
        for child in children:
            assert child.stdin
            child.stdin.write("\n")
            child.stdin.flush()
        meanwhile(children)
        return [json.loads(child.communicate(timeout=300)[0]) for child in children]
    finally:
        for child in children:
            child.kill()
            child.communicate()


def let_run(children: "Sequence[subprocess.Popen[str]]", seconds: float) -> None:
    """Wait until each of these processes has had so many seconds of a processor, however busy that is."""
    ends = {child.pid: _processor_seconds(child.pid) + seconds for child in children}
    for _ in pauses(120):
        if all(_processor_seconds(pid) >= end for pid, end in ends.items()):
            return
    raise AssertionError("the attackers hardly run")


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    uid, (what, seconds, minimum, *args) = int(sys.argv[1]), json.loads(sys.argv[2])
    os.nice(5)  # other tests run at the same time
    if uid != SAME:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
    rounds = Rounds(seconds, minimum)
    if what == "name":
        args = [{cell: Target(*target) for cell, target in args[0].items()}]
    doing: dict[str, Callable[..., Any]] = {"name": _name, "storm": _storm, "choose": _choose}
    found = doing[what](rounds, *args)
    times = {"rounds": rounds.done, "begin": rounds.begin, "end": rounds.end}
    print(json.dumps({"what": what, "uid": uid, **times, **found}))


if __name__ == "__main__":
    main()
