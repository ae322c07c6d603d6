import pytest
from redis_servers import REDIS, is_of, redis


@pytest.mark.parametrize("number", range(20))
def test_number(unused_port, number):
    with redis(unused_port) as server:
        assert is_of(unused_port, server.pid)


@pytest.mark.parametrize("number", range(20))
def test_program(run_on_port, number):
    running = run_on_port([*REDIS, "{port}"])
    assert is_of(running.port, running.pid)
