import sys
from pathlib import Path

from anyport._run import run

run._GRACE = 0.2
DEAF = """
import signal, socket, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    signal.pause()
"""


def test_it(run_on_port):
    running = run_on_port([sys.executable, "-c", DEAF, "{port}"])
    Path("ports").write_text(f"{running.port} {running.pid}")
