"""The tests that suite.py runs, each with a redis-server of its own; SUITE_WAY names who chooses its port."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from typing import TYPE_CHECKING, NamedTuple

import pytest

from suite import NOT_OURS, NOT_STARTED, TESTS

if TYPE_CHECKING:
    from collections.abc import Iterator

REDIS = ("redis-server", "--save", "", "--port")
PATIENCE = 20.0  # seconds


class Server(NamedTuple):
    """The process that a test started, and the port that it was told."""

    port: int
    pid: int


def bind_0_and_close() -> int:
    with socket.socket() as sock:
        sock.bind(("", 0))
        port: int = sock.getsockname()[1]
        return port


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    way = os.environ["SUITE_WAY"]
    if way == "run_on_port":
        running = request.getfixturevalue(way)([*REDIS, "{port}"])
        yield Server(running.port, running.pid)
        return
    port = bind_0_and_close() if way == "bind_0_and_close" else request.getfixturevalue(way)
    with subprocess.Popen([*REDIS, str(port)], stdout=subprocess.DEVNULL) as process:
        try:
            wait_for(process, port)
            yield Server(port, process.pid)
        finally:
            process.terminate()


def wait_for(process: subprocess.Popen[bytes], port: int) -> None:
    """By connecting, until something answers, as test suites do."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if process.poll() is not None:
            pytest.fail(NOT_STARTED)
        try:
            if ask(port, "PING") == "+PONG":
                return
        except OSError:
            time.sleep(0.005)
    pytest.fail("the server did not answer")


def ask(port: int, question: str) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
        client.sendall(f"{question}\r\n".encode())
        client.shutdown(socket.SHUT_WR)
        return client.makefile().read().strip()


@pytest.mark.parametrize("number", range(TESTS))
def test_the_server_answers(server: Server, number: int) -> None:  # noqa: ARG001
    assert ask(server.port, "PING") == "+PONG"
    if f"process_id:{server.pid}\n" not in ask(server.port, "INFO server"):
        pytest.fail(NOT_OURS)
