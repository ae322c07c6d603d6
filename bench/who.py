"""`who`: one port, and the full list against ss, psutil and lsof; what `wait` costs, and how soon it ends."""

from __future__ import annotations

import os
import resource
import socket
import struct
import subprocess
import time
from contextlib import contextmanager
from functools import partial
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from pkgutil import resolve_name
from statistics import median
from tempfile import TemporaryDirectory
from threading import Timer
from typing import TYPE_CHECKING, NamedTuple

from command import Launcher
from common import BY_PIP, BY_UV, MEMORY, Figure, Report, Table, calls, enter_private, in_turn, ratio, show
from run_command import percentile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from multiprocessing.synchronize import Barrier

SMALL, LARGE = 5_000, 50_000  # TCP sockets
HOLDERS = 5  # processes that have them, because of RLIMIT_NOFILE
BOUND, CONNECTED = "half listen, half bound only", "half connections, a quarter listen, a quarter bound only"
FIRST = 8080  # of the numbers that are taken; the even ones are listened on
PORT, TWICE, BELOW = FIRST, FIRST + 2, FIRST - 1  # TCP has it; UDP has it, too; nobody has it
EPHEMERAL = (34_000, 65_535)  # the range that the clients' ends are from: above what else is taken
ABORT = struct.pack("ii", 1, 0)  # SO_LINGER: close leaves no TIME_WAIT
ROUNDS, IN_A_ROW = 41, 10  # of one port
LOOK_UPS = 41  # of its processes
LIST_ROUNDS = 9
STARTS = 41  # of the command; the first makes the ledger, and uv's bytecode
WAIT, WAITS = 20, 3  # seconds, times
DELAYS = 60
AT_REST = 0.3  # seconds, after which a wait looks as seldom as it ever does
STEP, STEPS = 0.0017, 60  # a server listens some seconds later than the one before it, so that every phase comes up
ANYPORT = str(BY_PIP / "bin/anyport")
LIST, WITH_PROCESSES = "`anyport.who(tcp=True, processes=False)`", "`anyport.who(tcp=True)`"
PSUTIL = '`psutil.net_connections("tcp")`'
SS, LSOF, COMMAND, SS_PROCESSES = "ss -tanH", "lsof -nP -iTCP", "anyport who --tcp", "ss -tanpH"
HEADERS = {LSOF: 1, COMMAND: 1}  # lines that are no socket
REST = ("95th percentile", "longest")
PASS, JSON = "python -I -c pass", "anyport --json"

_steps = count()


class Ask(NamedTuple):
    """A call of `who`, and the microseconds that it may take."""

    port: int
    words: Mapping[str, bool]
    limit: float

    def __str__(self) -> str:
        return f"`who({', '.join([str(self.port), *(f'{name}={value}' for name, value in self.words.items())])})`"

    def laps(self, in_a_row: int) -> Callable[[], float]:
        """A rival for in_turn; the answers must hold the port, of each protocol that has it."""
        who = resolve_name("anyport:who")
        expected = [(self.port, each) for each in ("tcp", "udp")[: 1 + (self.port == TWICE)]]

        def ask() -> None:
            assert [(each.port, each.protocol) for each in who(self.port, **self.words)] == expected

        return calls(ask, in_a_row)


ALL = Ask(PORT, {"processes": False}, 4_000)
WHOSE = Ask(PORT, {}, 51_000)  # which is not judged: the difference to ALL is
ASKS = (
    Ask(PORT, {"tcp": True, "connections": False, "processes": False}, 1_000),
    Ask(TWICE, {"connections": False, "processes": False}, 1_000),
    Ask(PORT, {"connections": False, "processes": False}, 1_000),
    Ask(TWICE, {"processes": False}, 4_000),
    ALL,
)


def measure() -> Report:
    """`who` for one port and for all, against ss, psutil and lsof; and `wait`, its processor time and its delay."""
    enter_private()
    Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("{} {}".format(*EPHEMERAL))
    parts = []
    with TemporaryDirectory(dir=MEMORY) as folder:
        os.environ["ANYPORT_LEDGER"] = f"{folder}/ledger"
        parts.append(starts(Path(folder)))
        parts += [one_port(mix) for mix in (BOUND, CONNECTED)]
        parts += [full_list(mix) for mix in (BOUND, CONNECTED)]
        parts.append(waiting())
    figures = [each for figures, _ in parts for each in figures]
    return Report("Who has a port, and waiting for one", figures, [each for _, tables in parts for each in tables])


Part = tuple[list[Figure], list[Table]]


def one_port(mix: str) -> Part:
    """The times of one port's answers."""
    with taken(SMALL, mix):
        times = in_turn({str(each): each.laps(IN_A_ROW) for each in ASKS}, ROUNDS)
        looks = in_turn({str(each): each.laps(1) for each in (ALL, WHOSE)}, LOOK_UPS)
    figures = [Figure(f"{each}, {mix}", median(times[str(each)]) * 1e6, "us", each.limit) for each in ASKS]
    look_up = more(looks[str(WHOSE)], looks[str(ALL)]) * 1e3
    figures.append(Figure(f"the look-up of the processes of one port, {mix}", look_up, "ms", 50))
    title = f"One port, {SMALL:,} sockets: {mix}. UDP has {TWICE}, too, and not {PORT}"
    rows = [(name, *spread(each, 1e6, 0)) for name, each in (*times.items(), (str(WHOSE), looks[str(WHOSE)]))]
    return figures, [Table(title, ("call", "us, median", *REST), rows)]


def spread(seconds: Sequence[float], per_second: float, digits: int) -> list[str]:
    """The median, the 95th percentile and the longest."""
    values = median(seconds), percentile(seconds, 95), max(seconds)
    return [f"{value * per_second:,.{digits}f}" for value in values]


def more(mine: Sequence[float], other: Sequence[float]) -> float:
    """How much more: of the medians, or the median of the rounds' own, whichever is worse."""
    return max(median(mine) - median(other), median(one - two for one, two in zip(mine, other, strict=True)))


def full_list(mix: str) -> Part:
    """The times of the full list, and how many sockets it has."""
    who, by_psutil = resolve_name("anyport:who"), resolve_name("psutil:net_connections")
    library: dict[str, Callable[[], Sequence[object]]] = {
        LIST: lambda: who(tcp=True, processes=False), PSUTIL: lambda: by_psutil("tcp"),
        WITH_PROCESSES: lambda: who(tcp=True),
    }  # fmt: skip
    commands = {name: name.replace("anyport", ANYPORT).split() for name in (SS, LSOF, COMMAND, SS_PROCESSES)}
    ways = {name: calls(function, 1) for name, function in library.items()}
    ways |= {f"`{name}`": calls(partial(run, words), 1) for name, words in commands.items()}
    with taken(LARGE, mix):
        listed = {name: len(function()) for name, function in library.items()}
        listed |= {f"`{name}`": lines(words) - HEADERS.get(name, 0) for name, words in commands.items()}
        assert listed[LIST] == listed[WITH_PROCESSES] == listed[f"`{COMMAND}`"] == LARGE
        seconds = in_turn(ways, LIST_ROUNDS)
    limits = {f"`{SS}`": 2.5, PSUTIL: 1 / 5, f"`{LSOF}`": 1 / 10}
    figures = [
        Figure(f"{LIST} / {name}, {mix}", ratio(seconds[LIST], seconds[name]).worse(), "x", limit)
        for name, limit in limits.items()
    ]
    rows = []
    for name, each in seconds.items():
        against = ratio(each, seconds[f"`{SS}`"])
        cells = f"{against.of_medians:.2f}, {against.of_rounds:.2f}"
        rows.append((name, f"{median(each) * 1e3:.0f}", cells, f"{listed[name]:,}"))
    title = f"The full list, {LARGE:,} sockets: {mix}. The sockets that the others do not list are bound only"
    return figures, [Table(title, ("way", "ms", f"x {SS} (medians, rounds)", "sockets listed"), rows)]


def run(words: Sequence[str]) -> None:
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def lines(words: Sequence[str]) -> int:
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout.count(b"\n")


def waiting() -> Part:
    """The processor time of `anyport wait` while it waits, and how soon it ends after a listen."""
    with taken(SMALL, CONNECTED):
        connected = next(
            each.port for each in resolve_name("anyport:who")(tcp=True, processes=False) if each.port >= EPHEMERAL[0]
        )
        waits = {
            f"anyport wait {BELOW} --until listening": "that nobody has",
            f"anyport wait {PORT} --until unused": "that is listened on",
            f"anyport wait {connected} --until unused": "that is a connection's",
        }
        used = in_turn({name: partial(processor_times, name.split()[1:]) for name in waits}, WAITS)
        delays = in_turn({"`anyport wait`": told_by_command, "`anyport.wait()`": told_by_library}, DELAYS)
    figures, rows = [], []
    for name, which in waits.items():
        whole, while_waiting = (median(column) for column in zip(*used[name], strict=True))
        what = f"the processor's time for `{name}`, {which}, in {WAIT} s"
        figures.append(Figure(what, while_waiting * 1e3, "ms", WAIT * 1e3 * 2 / 100))
        rows.append((name, which, f"{while_waiting / WAIT:.2%}", f"{whole / WAIT:.2%}"))
    where = f"{SMALL:,} sockets: {CONNECTED}"
    title = f"Waiting {WAIT} s in vain, {where}. Of one processor's time, the median of {WAITS} times; 2 % are allowed"
    told = [(name, *spread(each, 1e3, 1)) for name, each in delays.items()]
    return figures, [
        Table(title, ("command", "a port", "while it waits", "with start and message"), rows),
        Table(f"From listen until it is told, {DELAYS} times, {where}", ("told by", "ms, median", *REST), told),
    ]


def processor_times(words: Sequence[str]) -> tuple[float, float]:
    """The processor's seconds of a wait in vain: all of it, and without what it takes to look once and say so."""
    whole = processor_time(words, WAIT)
    return whole, whole - processor_time(words, 0)


def processor_time(words: Sequence[str], seconds: int) -> float:
    command = [ANYPORT, *words, "--timeout", str(seconds)]
    pid = os.posix_spawn(
        ANYPORT, command, os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)]
    )
    _, status, usage = os.wait4(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 1
    return usage.ru_utime + usage.ru_stime


def told_by_command() -> float:
    """Seconds from listen until the command has ended."""
    with bound(BELOW) as server, subprocess.Popen([ANYPORT, "wait", str(BELOW)]) as child:
        time.sleep(lead())
        begin = time.perf_counter()
        server.listen()
        assert child.wait() == 0
        return time.perf_counter() - begin


def told_by_library() -> float:
    """Seconds from listen until anyport.wait returns."""
    begin = []
    with bound(BELOW) as server:

        def listen() -> None:
            begin.append(time.perf_counter())
            server.listen()

        Timer(lead(), listen).start()
        resolve_name("anyport:wait")(BELOW)
        return time.perf_counter() - begin[0]


def lead() -> float:
    """Seconds from the begin of a wait until the listen."""
    return AT_REST + next(_steps) % STEPS * STEP


def starts(folder: Path) -> Part:
    """The time of the command from start to end, where there is one socket."""
    tables = []
    names = (PASS, JSON, f"anyport who {PORT}", f"anyport wait {PORT}")
    with socket.create_server(("", PORT)), Launcher() as launcher:
        for by, environment in (("pip", BY_PIP), ("uv", BY_UV)):
            ways = {
                name: partial(
                    launcher.run, folder / "ledger", [str(environment / "bin" / name.split()[0]), *name.split()[1:]]
                )
                for name in names
            }
            results = {name: [each[0] for each in runs[1:]] for name, runs in in_turn(ways, STARTS).items()}
            rows = []
            for name, each in results.items():
                against = ratio(each, results[PASS])
                rows.append((name, f"{median(each) * 1e3:.2f}", f"{against.of_medians:.2f}, {against.of_rounds:.2f}"))
            title = (
                f"The commands where {PORT} is listened on and is the only port in use, installed by {by} (no limit)"
            )
            tables.append(Table(title, ("command", "ms", "x pass (medians, rounds)"), rows))
    return [], tables


@contextmanager
def taken(total: int, mix: str) -> Iterator[None]:
    """So many TCP sockets belong to other processes, and a UDP socket to us."""
    pairs = total // 4 // HOLDERS if mix == CONNECTED else 0
    share = total // HOLDERS - 2 * pairs
    context = get_context("fork")
    ready, (end, ours) = context.Barrier(HOLDERS + 1, timeout=60), os.pipe()
    children = [
        context.Process(
            target=hold, args=(range(first, first + share), pairs, ready, end, ours), daemon=True
        )
        for first in range(FIRST, FIRST + HOLDERS * share, share)
    ]  # fmt: skip
    for child in children:
        child.start()
    try:
        ready.wait()
        with bound(TWICE, socket.SOCK_DGRAM):
            yield
    finally:
        os.close(ours)
        for child in children:
            child.join()
        os.close(end)


def hold(ports: range, pairs: int, ready: Barrier, end: int, ours: int) -> None:
    """Have sockets on these ports, every second listening, and connections, until all others have closed the pipe.

    That happens however the one who started this comes to its end.
    """
    os.close(ours)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    servers = [bound(port) for port in ports[::2]]
    for server in servers:
        server.listen()
    others = [bound(port) for port in ports[1::2]]
    connections = [connection(servers[-1]) for _ in range(pairs)]
    ready.wait()
    os.read(end, 1)
    for sock in (*servers, *others, *(each for pair in connections for each in pair)):
        sock.close()


def bound(port: int, kind: int = socket.SOCK_STREAM) -> socket.socket:
    sock = socket.socket(socket.AF_INET, kind)
    sock.bind(("", port))
    return sock


def connection(server: socket.socket) -> tuple[socket.socket, socket.socket]:
    """Both ends."""
    client = socket.create_connection(("127.0.0.1", server.getsockname()[1]))
    accepted = server.accept()[0]
    for each in (client, accepted):
        each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
    return client, accepted


if __name__ == "__main__":
    show(measure)
