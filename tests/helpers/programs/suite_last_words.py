import sys

import pytest

LAST_WORDS = """
import os, signal, socket, sys
def stop(*_):
    os.write(2, b"good bye\\n")
    os._exit(0)
signal.signal(signal.SIGTERM, stop)
os.write(1, b"good morning\\n")
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
signal.pause()
"""


@pytest.fixture
def fails(run_on_port):
    yield run_on_port([sys.executable, "-c", LAST_WORDS, "{port}"])
    assert False


def test_it(fails):
    pass
