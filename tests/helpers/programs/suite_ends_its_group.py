import os
import sys

import pytest

CODE = """
import os, signal, socket, sys
signal.signal(signal.SIGTERM, lambda *_: (signal.signal(signal.SIGTERM, signal.SIG_DFL), os.killpg(0, 15)))
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
server.accept()
"""


def test_one(run_on_port):
    running = run_on_port([sys.executable, "-c", CODE, "{port}"])
    if os.getpgid(running.pid) == os.getpgid(0):
        os.kill(running.pid, 9)  # else those who run this test would end too
        pytest.fail("it is in our group")


def test_another(run_on_port):
    running = run_on_port([sys.executable, "-c", CODE, "{port}"], process_group=None)
    assert os.getpgid(running.pid) == os.getpgid(0)
    os.kill(running.pid, 9)
