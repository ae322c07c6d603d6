"""Suites in which many tests start real servers at once, where the kernel has few ports to give."""

from collections.abc import Iterator
from textwrap import dedent

import pytest

from helpers.suites import passes, run_suite, write_suite
from helpers.support import churn, needs, private_network

EPHEMERAL = (40_000, 40_599)
SERVERS = """
import contextlib

REDIS = ["redis-server", "--save", "", "--port"]

@contextlib.contextmanager
def redis(port):
    with subprocess.Popen([*REDIS, str(port)], stdout=subprocess.DEVNULL) as server:
        try:
            anyport.wait(port, tree=server.pid, timeout=60)
            yield server
        finally:
            server.kill()

def is_of(port, pid):
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(b"INFO server\\r\\n")
        return f"process_id:{pid}\\n" in client.makefile()
"""


@pytest.fixture
def few_ports() -> Iterator[None]:
    needs("redis-server")
    with private_network(EPHEMERAL):
        yield


@pytest.mark.usefixtures("few_ports")
def test_a_parallel_suite_of_servers_does_not_fail(pytester: pytest.Pytester) -> None:
    """Forty servers by eight workers, half of them on a number and half on a held port; others take ports meanwhile."""
    test = """
    @pytest.mark.parametrize("number", range(20))
    def test_number(unused_port, number):
        with redis(unused_port) as server:
            assert is_of(unused_port, server.pid)

    @pytest.mark.parametrize("number", range(20))
    def test_program(run_on_port, number):
        running = run_on_port([*REDIS, "{port}"])
        assert is_of(running.port, running.pid)
    """
    with churn(0, 0):
        passes(pytester, SERVERS + dedent(test), "-n8")


# Others take what the kernel gives, until it has nothing left, between the choice of a number and its use.
BETWEEN = """
@pytest.fixture
def naive_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]

@pytest.fixture
def others():
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            while True:
                stack.enter_context(socket.socket()).bind(("", 0))
        yield

@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("way", ["naive_port", "unused_port"])
def test_it(way, request, number):
    port = request.getfixturevalue(way)
    request.getfixturevalue("others")
    with redis(port):
        pass
"""


@pytest.mark.usefixtures("few_ports")
def test_bind_zero_and_close_fails_where_the_fixture_does_not(pytester: pytest.Pytester) -> None:
    """For certain, when others take just then what the kernel gives away; the quiet range is not given away."""
    write_suite(pytester, SERVERS + BETWEEN)
    result = run_suite(pytester)
    result.assert_outcomes(passed=3, failed=3)
    assert len([line for line in result.outlines if line.startswith("FAILED") and "[naive_port-" in line]) == 3
