import socket
import sys

import pytest

CODE = "import os, socket, sys; print('a long first line', flush=True);"
CODE += "socket.create_server(('', int(sys.argv[1]))).accept(); os.system('echo again >/dev/stderr'); print('end')"


@pytest.fixture(scope="module")
def talker(module_run_on_port):
    return module_run_on_port([sys.executable, "-c", CODE, "{port}"])


def test_first(talker):
    pass


def test_second(talker):
    socket.create_connection(("127.0.0.1", talker.port)).close()
    assert talker.wait(60) != 0
