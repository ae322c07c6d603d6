"""A portserver under load: `anyport serve` and portpicker's own, 64 clients at once; what bad clients cost it."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import time
from contextlib import contextmanager, suppress
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

from common import BY_PIP, MEMORY, Figure, Report, Table, enter_private, in_turn, show
from race_traffic import wait_for
from run_command import percentile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from io import FileIO
    from multiprocessing.synchronize import Barrier

CLIENTS = 64
SHORT, LONG = int(os.environ.get("PORTSERVER_COUNT", "500")), 100  # requests of each client
ROUNDS = 3
FLAT = 100_000  # requests
ENDS = 300  # of processes
OURS, THEIRS = "anyport serve", "portpicker's portserver.py"
ADDRESS = "@bench-portserver"
POOL = "15000-24999"  # what portpicker's has by default
COMMANDS = {
    OURS: (str(BY_PIP / "bin/anyport"), "serve", "--socket", ADDRESS, "--pool", POOL),
    THEIRS: (
        str(BY_PIP / "bin/python"), str(BY_PIP / "bin/portserver.py"),
        "--portserver_address", ADDRESS, "--portserver_static_pool", POOL,
    ),
}  # fmt: skip
_record = struct.Struct("=IQQQ")  # port (0: none), and ns: when asked, when answered, when given up


class Load(NamedTuple):
    """What came of one run: milliseconds until each answer, requests without a port, ports that two had at once."""

    delays: Sequence[float]
    lost: int
    twice: int
    seconds: float


@contextmanager
def running(name: str) -> Iterator[subprocess.Popen[bytes]]:
    """One of the servers, with a ledger of its own."""
    with TemporaryDirectory(dir=MEMORY) as folder:
        env = {**os.environ, "ANYPORT_LEDGER": str(Path(folder, "ledger"))}
        quiet = subprocess.DEVNULL
        with subprocess.Popen(COMMANDS[name], env=env, stdout=quiet, stderr=quiet) as server:
            wait_for(ADDRESS)
            try:
                yield server
            finally:
                server.terminate()


def ask(pid: int) -> int:
    """A port as any client asks for it; 0 if there is none."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(ADDRESS.replace("@", "\0", 1))
        sock.sendall(b"%d\n" % pid)
        return int(sock.recv(64).strip() or 0)


def timed() -> tuple[int, int, int]:
    """The port for this process, when it was asked for, and when it was there."""
    begin = time.monotonic_ns()
    port = 0
    with suppress(OSError):
        port = ask(os.getpid())
    return port, begin, time.monotonic_ns()


def short_lived(barrier: Barrier, path: str) -> None:
    """A client each of whose requests is made by a process of its own, which binds the port and ends."""
    barrier.wait()
    for _ in range(SHORT):
        pid = os.fork()
        if not pid:
            port, begin, end = timed()
            with socket.socket() as sock, suppress(OSError):
                sock.bind(("127.0.0.1", port))
            append(path, [(port, begin, end, time.monotonic_ns())])
            os._exit(0)
        os.waitpid(pid, 0)


def long_lived(barrier: Barrier, path: str) -> None:
    """A client that keeps all its ports until the others have theirs."""
    barrier.wait()
    found = [timed() for _ in range(LONG)]
    barrier.wait()
    now = time.monotonic_ns()
    append(path, [(*each, now) for each in found])


def append(path: str, records: Sequence[tuple[int, int, int, int]]) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    os.write(fd, b"".join(_record.pack(*each) for each in records))
    os.close(fd)


def load(name: str, client: Callable[[Barrier, str], None]) -> Callable[[], Load]:
    """A rival for in_turn."""

    def measure() -> Load:
        context = get_context("fork")
        barrier = context.Barrier(CLIENTS)
        with TemporaryDirectory() as folder, running(name):
            path = Path(folder, "records")
            path.touch()
            begin = time.monotonic()
            processes = [context.Process(target=client, args=(barrier, str(path))) for _ in range(CLIENTS)]
            for process in processes:
                process.start()
            for process in processes:
                process.join()
            return judged(list(_record.iter_unpack(path.read_bytes())), time.monotonic() - begin)

    return measure


def judged(records: Sequence[tuple[int, int, int, int]], seconds: float) -> Load:
    """A port is given twice if it is answered to one process before another, that had it, gave it up."""
    given = sorted((port, answered, given_up) for port, _, answered, given_up in records if port)
    twice = sum(one[0] == two[0] and two[1] < one[2] for one, two in pairwise(given))
    delays = [(answered - begin) / 1e6 for _, begin, answered, _ in records]
    return Load(delays, sum(not each[0] for each in records), twice, seconds)


def together(loads: Sequence[Load]) -> tuple[int, int, int]:
    """Of all rounds: requests, those without a port, ports given twice."""
    return sum(len(each.delays) for each in loads), sum(each.lost for each in loads), sum(each.twice for each in loads)


def p99(loads: Sequence[Load]) -> float:
    return median(percentile(each.delays, 99) for each in loads)


def loaded(what: str, client: Callable[[Barrier, str], None]) -> tuple[list[Figure], Table]:
    results = in_turn({name: load(name, client) for name in COMMANDS}, ROUNDS)
    count, lost, twice = together(results[OURS])
    of_medians = p99(results[OURS]) / p99(results[THEIRS])
    rounds = [percentile(ours.delays, 99) / percentile(theirs.delays, 99) for ours, theirs in zip(*results.values())]  # noqa: B905
    figures = [
        Figure(f"{OURS}, {what}: requests without a port", lost, f"of {count:,}", 0),
        Figure(f"{OURS}, {what}: ports that two living processes had at once", twice, f"of {count:,}", 0),
        Figure(f"{OURS} / {THEIRS}, {what}: p99", max(of_medians, median(rounds)), "x", 1),
    ]
    rows = [row(name, loads) for name, loads in results.items()]
    head = ("server", "ms, median", "p99", "longest", "requests a second", "without a port", "given twice")
    return figures, Table(f"{CLIENTS} clients at once, {ROUNDS} times {what}", head, rows)


def row(name: str, loads: Sequence[Load]) -> Sequence[object]:
    count, lost, twice = together(loads)
    delays = [median(each.delays) for each in loads]
    longest = max(max(each.delays) for each in loads)
    rate = count / sum(each.seconds for each in loads)
    return name, f"{median(delays):.2f}", f"{p99(loads):.2f}", f"{longest:.1f}", f"{rate:,.0f}", lost, twice


def memory(pid: int) -> float:
    """Resident, in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no VmRSS of process {pid}")


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def flat() -> tuple[list[Figure], Table]:
    """Memory and descriptors before and after many requests, one in ten of them bad."""
    rows: list[Sequence[object]] = []
    with running(OURS) as server:
        bad_clients(FLAT // 100)  # what grows once grows here
        before, fds = memory(server.pid), descriptors(server.pid)
        rows.append(("after the first thousand", f"{before:.1f}", fds))
        for part in range(4):
            bad_clients(FLAT // 4)
            rows.append(
                (f"after {(part + 1) * FLAT // 4:,} more", f"{memory(server.pid):.1f}", descriptors(server.pid))
            )
        more = memory(server.pid) - before
        left = descriptors(server.pid) - fds
    figures = [
        Figure(f"{OURS}: memory after {FLAT:,} more requests, more than before", more, "MiB", 1),
        Figure(f"{OURS}: descriptors after {FLAT:,} more requests, more than before", left, "", 0),
    ]
    return figures, Table("Requests, one in ten of them bad", ("when", "VmRSS, MiB", "descriptors"), rows)


def freed() -> Figure:
    """How soon after the end of a process its port is nobody's: its record in the ledger is empty."""
    delays: list[float] = []
    with running(OURS) as server:
        ledger = next(path for path in opened(server.pid) if path.endswith("/ledger"))
        with open(ledger, "rb", buffering=0) as file:
            for _ in range(ENDS):
                pid = os.fork()
                if not pid:
                    os.kill(os.getpid(), 9 if ask(os.getpid()) else 15)
                assert os.waitpid(pid, 0)[1] == 9
                begin = time.monotonic()
                while given(file):
                    assert time.monotonic() < begin + 5
                delays.append((time.monotonic() - begin) * 1000)
    return Figure("from a process's end until its port is free, 99th percentile", percentile(delays, 99), "ms", 100)


def opened(pid: int) -> list[str]:
    return [os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")]


def given(file: FileIO) -> bool:
    """Whether the ledger has any claim of a process: its kind is 3, in the first byte of each record but the header."""
    file.seek(0)
    return 3 in file.read()[16::16]


BAD = (b"", b"12", b"garbage\n", b"\0" * 4096, b"9" * 100 + b"\n", b"-1\n", b"99999999\n")


def bad_clients(count: int) -> None:
    """So many requests, by short-lived children of ten requests each; the server has forgotten all when it returns."""
    for step in range(count // 10):
        pid = os.fork()
        if not pid:
            for _ in range(9):
                assert ask(os.getpid())
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(ADDRESS.replace("@", "\0", 1))
                sock.sendall(BAD[step % len(BAD)])
                if step % 2:
                    sock.shutdown(socket.SHUT_WR)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
    time.sleep(0.5)


def measure() -> Report:
    """A portserver under load."""
    enter_private()
    short, short_table = loaded(f"{SHORT} requests each, every one from a process that ends", short_lived)
    long, long_table = loaded(f"{LONG} requests each, from processes that live on", long_lived)
    steady, flat_table = flat()
    return Report("A portserver under load", [*short, *long, freed(), *steady], [short_table, long_table, flat_table])


measure.__doc__ = __doc__

if __name__ == "__main__":
    show(measure)
