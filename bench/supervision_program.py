"""A program that times its own system calls: supervision_program.py calls|clients|others|refused|traps PORT.

It prints a JSON object: the nanoseconds of each call, by name.
"""

import json
import os
import signal
import socket
import struct
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

BIND, LISTEN = "bind, the held port", "listen, the held port"
BIND_RESTED, LISTEN_RESTED = "the same bind after 2 ms of rest", "the same listen right after that"
BIND_OTHER, LISTEN_OTHER = "bind, another port", "listen, another port"
BIND_ANY, BIND_UNIX = "bind, port 0", "bind, AF_UNIX"
CONNECT, CONNECT_NOW = "connect", "connect, non-blocking"
CONNECT_OTHER, NAME, NAME_OTHER = "connect, another port", "getsockname", "getsockname, another port"
UNTRAPPED = "getppid"
REFUSED, REFUSED_BEHIND = "bind, refused", "bind, refused, of a daemon"
CHILDREN = 2_000  # that do nothing
REFUSALS = 20
ROUNDS = 50  # of all the calls
REST = 0.002  # seconds
BLOCKS, BLOCK = 60, 5_000  # of untrapped calls, of which the quickest block counts
TRAPS = 100
HOST = "127.0.0.1"
UNIX = f"\0anyport-bench-{os.getpid()}"
ABORT = struct.pack("ii", 1, 0)  # SO_LINGER: close leaves no TIME_WAIT

Times = dict[str, list[int]]


def main() -> None:
    what, number = sys.argv[1:]
    port = int(number)
    if what == "traps":
        trap(port)
        return
    measures = {"calls": calls, "clients": clients, "others": others, "refused": refused}
    print(json.dumps(measures[what](port)))


def timed(function: "Callable[..., object]", *args: object) -> int:
    begin = time.perf_counter_ns()
    function(*args)
    return time.perf_counter_ns() - begin


def calls(port: int) -> Times:
    """What a server calls, on its own port and elsewhere, each time on a new socket."""
    servers = {
        (BIND, LISTEN): (port, 0.0),
        (BIND_RESTED, LISTEN_RESTED): (port, REST),
        (BIND_OTHER, LISTEN_OTHER): (neighbour(port), 0.0),
    }
    times: Times = {name: [] for names in (*servers, (BIND_ANY, BIND_UNIX)) for name in names}
    for _ in range(ROUNDS):
        for (bind, listen), (number, rest) in servers.items():
            with socket.socket() as sock:
                if rest:
                    time.sleep(rest)
                times[bind].append(timed(sock.bind, (HOST, number)))
                times[listen].append(timed(sock.listen))
        with socket.socket() as sock, socket.socket(socket.AF_UNIX) as unix:
            times[BIND_ANY].append(timed(sock.bind, (HOST, 0)))
            times[BIND_UNIX].append(timed(unix.bind, UNIX))
    return times


def clients(port: int) -> Times:
    """What a client calls, and the server's getsockname."""
    times: Times = {name: [] for name in (CONNECT, CONNECT_NOW, CONNECT_OTHER, NAME, NAME_OTHER)}
    with socket.socket() as server, socket.socket() as other:
        for sock, number in ((server, port), (other, neighbour(port))):
            sock.bind((HOST, number))
            sock.listen()
        for _ in range(ROUNDS):
            times[CONNECT].append(connected(server, port))
            times[CONNECT_NOW].append(connected(server, port, is_blocking=False))
            times[CONNECT_OTHER].append(connected(other, neighbour(port)))
            times[NAME].append(timed(server.getsockname))
            times[NAME_OTHER].append(timed(other.getsockname))
        assert server.getsockname() == (HOST, port)
    return times


def connected(server: socket.socket, port: int, *, is_blocking: bool = True) -> int:
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
        client.setblocking(is_blocking)
        taken = timed(client.connect_ex, (HOST, port))
        server.accept()[0].close()
    return taken


def others(_: int) -> Times:
    """A call that no filter traps."""
    getppid, block = os.getppid, range(BLOCK)
    taken = []
    for _ in range(BLOCKS):
        begin = time.perf_counter_ns()
        for _ in block:
            getppid()
        taken.append(time.perf_counter_ns() - begin)
    return {UNTRAPPED: [round(min(taken) / BLOCK)]}


def refused(port: int) -> Times:
    """A bind where the program listens itself and has many children; and again in one that outlives runner and program.

    The program ends here; what is returned is the survivor's.
    """
    with socket.socket() as server:
        server.bind((HOST, port))
        server.listen()
        children = [fork(signal.pause) for _ in range(CHILDREN)]
        times = {REFUSED: refusals(port)}
        end, ended = os.pipe()
        if not os.fork():
            os.setsid()
            os.close(ended)
            os.read(end, 1)  # nothing comes: the program has ended
            return times | {REFUSED_BEHIND: refusals(port)}
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        os._exit(0)


def refusals(port: int) -> list[int]:
    taken = []
    for _ in range(REFUSALS):
        with socket.socket() as sock:
            taken.append(timed(refusal, sock, port))
    return taken


def refusal(sock: socket.socket, port: int) -> None:
    try:
        sock.bind((HOST, port))
    except OSError:
        return
    raise AssertionError("it was not refused")


def fork(work: "Callable[[], object]") -> int:
    pid = os.fork()
    if not pid:
        work()
        os._exit(0)
    return pid


def trap(port: int) -> None:
    """Make so many calls, say so, and wait."""
    for _ in range(TRAPS // 2):
        with socket.socket() as sock:
            sock.bind((HOST, port))
            sock.listen()
    print(flush=True)
    signal.pause()


def neighbour(port: int) -> int:
    return port + 1 if port < 65_535 else port - 1


if __name__ == "__main__":
    main()
