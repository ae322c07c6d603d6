"""Who else is there: processes that bind to port 0 and connect all the time, and the server of portpicker."""

from __future__ import annotations

import socket
import subprocess
import time
from collections import deque
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from typing import TYPE_CHECKING

from common import BY_PIP
from race_ways import ABORT, ADDRESS

if TYPE_CHECKING:
    from collections.abc import Iterator

CHURNING = 4
BACKGROUND = 700  # the port of the traffic's server, which no way gives out


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


@contextmanager
def portserver() -> Iterator[None]:
    """Portpicker's own server, with the pool that it has by default: 15000-24999, outside of the ephemeral range."""
    command = (BY_PIP / "bin/python", BY_PIP / "bin/portserver.py", "--portserver_address", ADDRESS)
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as server:
        wait_for(ADDRESS)
        yield
        server.terminate()


def wait_for(address: str) -> None:
    while True:
        with socket.socket(socket.AF_UNIX) as sock, suppress(OSError):
            sock.connect(address.replace("@", "\0", 1))
            return
        time.sleep(0.01)
