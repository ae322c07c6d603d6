"""Hand-overs in a storm: 32 workers get a port, wait 5 ms and start a server on it; others churn through ports."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import time
from collections import Counter, deque
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from pathlib import Path
from pkgutil import resolve_name
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from common import MEMORY, Figure, Report, Table, enter_private, show

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HANDOVERS, WORKERS, CHURNING = 10_000, 32, 4
DELAY, LIFE = 0.005, 0.005  # seconds between getting the port and starting the server, and that the server lives
MOST = 50.0  # seconds for one storm: whoever is slower makes fewer hand-overs, and is counted as if for 10,000
EPHEMERAL = "40000 40199"
BACKGROUND, CLIENTS = 700, 800  # ports of the traffic's server, and from here on those of the workers' clients
ABORT = struct.pack("ii", 1, 0)  # SO_LINGER: close leaves no TIME_WAIT
FIND = "anyport.find()"
METHODS = {
    "bind and close": "storm:bind_and_close",
    "first gap in ss": "storm:first_gap",
    "portpicker": "portpicker:pick_unused_port",
    "ephemeral-port-reserve": "ephemeral_port_reserve:reserve",
    "port-for": "port_for:select_random",
    FIND: "anyport:find",
    "anyport.find(ephemeral=True)": "storm:find_ephemeral",
}
SERVERS = ("", "SO_REUSEADDR")
TITLE = """\
32 workers: get a port, wait 5 ms, start a server, let one client in, stop after 5 ms; around them four processes that
bind to port 0 and connect all the time; an ephemeral range of 200 ports. A hand-over is lost when the server's bind or
listen fails; there is no port when the way gives none. (ephemeral-port-reserve keeps each number in TIME_WAIT for a
minute, so 200 ports are used up at once, and what follows are refusals.)"""

Outcome = dict[str, float]  # how many hand-overs were "done", "lost" or got "no port", and the "seconds" of all


def bind_and_close() -> int:
    with socket.socket() as sock:
        sock.bind(("", 0))
        return int(sock.getsockname()[1])


def first_gap() -> int:
    listing = subprocess.run(["ss", "-Htln"], check=True, capture_output=True, text=True).stdout
    taken = {int(line.split()[3].rpartition(":")[2]) for line in listing.splitlines()}
    return next(port for port in range(20_000, 65_536) if port not in taken)


def find_ephemeral() -> int:
    return int(resolve_name("anyport:find")(ephemeral=True))


def measure() -> Report:
    """Failed hand-overs of 10,000, by 32 workers in an ephemeral range of 200 ports, with traffic around them."""
    outcomes = {(name, server): storm_apart(name, reuse=bool(server)) for name in METHODS for server in SERVERS}
    figures = [
        Figure(f"{name}, failed hand-overs, {server or 'plain'} server", failed(outcome), f"of {HANDOVERS:,}", 0)
        for (name, server), outcome in outcomes.items()
        if name == FIND
    ]
    head = ("way", "server", "lost, of 10,000", "no port, of 10,000", "hand-overs", "seconds")
    rows = [row(*key, outcome) for key, outcome in outcomes.items()]
    return Report("In a storm", figures, [Table(TITLE, head, rows)])


def row(name: str, server: str, outcome: Outcome) -> tuple[str, ...]:
    failures = (f"{of_10000(outcome, kind):,.0f}" for kind in ("lost", "no port"))
    return (name, server or "plain", *failures, f"{made(outcome):,.0f}", f"{outcome['seconds']:.0f}")


def failed(outcome: Outcome) -> float:
    return of_10000(outcome, "lost") + of_10000(outcome, "no port")


def of_10000(outcome: Outcome, kind: str) -> float:
    return outcome[kind] * HANDOVERS / made(outcome)


def made(outcome: Outcome) -> float:
    return outcome["done"] + outcome["lost"] + outcome["no port"]


def storm_apart(name: str, *, reuse: bool) -> Outcome:
    """One storm in a network namespace that nobody used before, so that no TIME_WAIT is left there."""
    command = (sys.executable, __file__, "--one", name, str(int(reuse)))
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    return {"done": 0, "lost": 0, "no port": 0, **json.loads(answer)}


def storm(name: str, *, reuse: bool) -> Outcome:
    enter_private()
    Path("/proc/sys/net/ipv4/ip_local_port_range").write_text(EPHEMERAL)
    context = get_context("fork")
    with TemporaryDirectory(dir=MEMORY) as folder, traffic():
        os.environ["ANYPORT_LEDGER"] = f"{folder}/ledger"
        begin = time.perf_counter()
        with context.Pool(WORKERS) as pool:
            parts = pool.starmap(work, [(name, reuse, number) for number in range(WORKERS)], chunksize=1)
        return {**sum(parts, Counter()), "seconds": time.perf_counter() - begin}


def work(name: str, reuse: bool, number: int) -> Counter[str]:  # noqa: FBT001 - starmap
    method = resolve_name(METHODS[name])
    until = time.monotonic() + MOST
    outcomes: Counter[str] = Counter()
    for _ in range(number, HANDOVERS, WORKERS):
        if time.monotonic() < until:
            outcomes[hand_over(method, CLIENTS + number, reuse=reuse)] += 1
    return outcomes


def hand_over(method: Callable[[], int], client: int, *, reuse: bool) -> str:
    try:
        port = method()
    except Exception:  # noqa: BLE001 - each of the rivals has one of its own
        return "no port"
    time.sleep(DELAY)
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
        try:
            server.bind(("", port))
            server.listen()
        except OSError:
            return "lost"
        meet(server, port, client)
        time.sleep(LIFE)
    return "done"


def meet(server: socket.socket, port: int, client: int) -> None:
    """Let one client in, which comes from a port that no way gives out."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
        sock.bind(("127.0.0.1", client))
        sock.connect(("127.0.0.1", port))
        accepted = server.accept()[0]
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
        accepted.close()


@contextmanager
def traffic() -> Iterator[None]:
    """Processes that bind to port 0 and connect, again and again, and hold each port for some milliseconds."""
    context = get_context("fork")
    with socket.create_server(("127.0.0.1", BACKGROUND), backlog=100) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
        processes = [context.Process(target=accept, args=(server,), daemon=True)]
        processes += [context.Process(target=churn, daemon=True) for _ in range(CHURNING)]
        for process in processes:
            process.start()
        yield
        for process in processes:
            process.kill()


def accept(server: socket.socket) -> None:
    kept: deque[socket.socket] = deque(maxlen=100)
    while True:
        kept.append(server.accept()[0])


def churn() -> None:
    kept: deque[socket.socket] = deque(maxlen=10)
    while True:
        for sock in (socket.socket(), socket.socket()):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
            kept.append(sock)
        with suppress(OSError):  # the range is used up for a moment
            kept[-1].bind(("", 0))
        with suppress(OSError):
            kept[-2].connect(("127.0.0.1", BACKGROUND))
        time.sleep(0.001)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(storm(sys.argv[2], reuse=sys.argv[3] == "1")))
    else:
        show(measure)
