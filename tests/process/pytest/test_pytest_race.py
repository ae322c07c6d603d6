"""Suites in which many tests start real servers at once, where the kernel has few ports to give."""

from collections.abc import Iterator

import pytest

from helpers.suites import passes, run_suite, write_suite
from helpers.support import churn, needs, private_network, program

pytestmark = pytest.mark.slow
EPHEMERAL = (40_000, 40_599)


@pytest.fixture
def few_ports() -> Iterator[None]:
    needs("redis-server")
    with private_network(EPHEMERAL):
        yield


@pytest.mark.usefixtures("few_ports")
def test_a_parallel_suite_of_servers_does_not_fail(pytester: pytest.Pytester) -> None:
    """Forty servers by eight workers, half of them on a number and half on a held port; others take ports meanwhile."""
    with churn(0, 0):
        passes(pytester, program("suite_many_servers.py"), "-n8", redis_servers=program("redis_servers.py"))


# Others take what the kernel gives, until it has nothing left, between the choice of a number and its use.


@pytest.mark.usefixtures("few_ports")
def test_bind_zero_and_close_fails_where_the_fixture_does_not(pytester: pytest.Pytester) -> None:
    """For certain, when others take just then what the kernel gives away; the quiet range is not given away."""
    write_suite(pytester, program("suite_others_between.py"), redis_servers=program("redis_servers.py"))
    result = run_suite(pytester)
    result.assert_outcomes(passed=3, failed=3)
    assert len([line for line in result.outlines if line.startswith("FAILED") and "[naive_port-" in line]) == 3
