import contextlib
import socket
import subprocess

import anyport

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
        client.sendall(b"INFO server\r\n")
        return f"process_id:{pid}\n" in client.makefile()
