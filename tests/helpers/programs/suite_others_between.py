import contextlib
import socket

import pytest
from redis_servers import redis


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
