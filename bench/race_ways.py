"""The ways to get a port, and one hand-over: a port by one of them, 5 ms, a server on it, one request, the end."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import time
import warnings
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from itertools import count
from pkgutil import resolve_name
from typing import NamedTuple, Protocol

from common import HERE
from race_server import DELAY, PATIENCE, answered, listening

DONE, LOST, NO_PORT = "done", "lost", "no port"
PLAIN, REUSE = "plain", "SO_REUSEADDR"
SERVERS = (PLAIN, REUSE)
FIND, HOLD, RUN = "anyport: find", "anyport: hold", "anyport: run"
PORTSERVER, ADDRESS = "portpicker, portserver", "@unittest-portserver"
ABORT = struct.pack("ii", 1, 0)  # SO_LINGER: close leaves no TIME_WAIT
SERVER = (sys.executable, "-I", "-S", str(HERE / "race_server.py"))

_tokens = count()


class Held(Protocol):
    """A port that is kept until it is released."""

    port: int

    def release(self) -> None:
        """Keep it no longer."""


class Way(NamedTuple):
    """How to get a port: a function by its name, how many hand-overs there are to be, and the seconds for them.

    Whoever is slower makes fewer, and is counted as if for 10,000.  The remark says why some fail.
    """

    get: str
    remark: str = ""
    most: int = 10_000
    seconds: float = 15.0


NO_LIMIT = 3600.0
DOOR = "needs SO_REUSEADDR; without it `listen`, `inherit` or `release`, or run"
WAYS = {
    "bind to 0 and close": Way("race_ways:bind_and_close"),
    "first gap in ss": Way("race_ways:first_gap"),
    "portpicker": Way("portpicker:pick_unused_port"),
    PORTSERVER: Way("portpicker:pick_unused_port"),
    "ephemeral-port-reserve": Way(
        "ephemeral_port_reserve:reserve", "keeps each in TIME_WAIT for a minute, soon all of them"
    ),
    "port-for": Way("port_for:select_random"),
    "anyport: find --ephemeral": Way("race_ways:find_ephemeral"),
    FIND: Way("anyport:find", seconds=NO_LIMIT),
    "anyport: hold --ephemeral": Way("race_ways:hold_ephemeral", DOOR),
    HOLD: Way("anyport:hold", DOOR, seconds=NO_LIMIT),
    RUN: Way("", most=5_000, seconds=NO_LIMIT),
}


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


def hold_ephemeral() -> Held:
    held: Held = resolve_name("anyport:hold")(ephemeral=True)
    return held


def hand_over(name: str, server: str, client: int) -> str:
    """One hand-over: DONE, LOST or NO_PORT; `client` is the port that the request comes from."""
    token = f"{os.getpid()}-{next(_tokens)}"
    if name == RUN:
        return by_run(token, client, reuse=server == REUSE)
    try:
        found = resolve_name(WAYS[name].get)()
    except Exception as error:  # noqa: BLE001 - each of the rivals has one of its own
        return failed(NO_PORT, name, error)
    try:
        time.sleep(DELAY)
        port = found if isinstance(found, int) else found.port
        return by_us(name, port, token, client, reuse=server == REUSE)
    finally:
        if not isinstance(found, int):
            found.release()


def by_us(name: str, port: int, token: str, client: int, *, reuse: bool) -> str:
    """A server and its client in this process."""
    try:
        with listening(port, reuse=reuse) as server, closing(connected(port, client)) as connection:
            connection.request("GET", "/")
            with answered(server, token):
                return judged(connection, token)
    except (OSError, HTTPException) as error:
        return failed(LOST, name, error)


def by_run(token: str, client: int, *, reuse: bool) -> str:
    """A program that `anyport.run` starts, which ends after its request."""
    anyport = resolve_name("anyport")
    command = [*SERVER, "{port}", token, *(["reuse"] if reuse else [])]
    try:
        with warnings.catch_warnings(action="ignore"):  # of each restart
            running = anyport.run(command, stderr=subprocess.DEVNULL)
    except anyport.NoUnusedPort as error:
        return failed(NO_PORT, RUN, error)
    except anyport.AnyportError as error:
        return failed(LOST, RUN, error)
    try:
        with closing(connected(running.port, client)) as connection:
            connection.request("GET", "/")
            outcome = judged(connection, token)
        status = running.wait(PATIENCE)
    except (OSError, HTTPException, subprocess.TimeoutExpired) as error:
        running.terminate()
        return failed(LOST, RUN, error)
    return failed(LOST, RUN, f"exit status {status}") if status else outcome


def connected(port: int, client: int) -> HTTPConnection:
    """A client, from a port that no way gives out; when it closes, nothing is left."""
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE, source_address=("127.0.0.1", client))
    connection.connect()
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
    return connection


def judged(connection: HTTPConnection, token: str) -> str:
    """Whether it is this very server that answers."""
    found = connection.getresponse().read().decode()
    return DONE if found == token else failed(LOST, "", f"{found} answers instead of {token}")


def failed(outcome: str, name: str, why: object) -> str:
    """The outcome; of ours, which should not fail, the reason is told."""
    if name in (FIND, RUN):
        print(f"{name}, {outcome}: {why!r}", file=sys.stderr)
    return outcome
