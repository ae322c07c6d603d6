import socket
from pathlib import Path

import anyport
from suite import can_be_bound


def test_it(run_on_port):
    running = run_on_port(["redis-server", "--port", "{port}", "--save", ""])
    assert isinstance(running, anyport.Running)
    with socket.create_connection(("127.0.0.1", running.port), timeout=60) as client:
        client.sendall(b"PING\r\nINFO server\r\n")
        lines = client.makefile()
        assert next(lines) == "+PONG\n"
        assert f"process_id:{running.pid}\n" in (next(lines) for _ in range(20))
    assert not can_be_bound(running.port, reuse=True)
    Path("ports").write_text(str(running.port))
