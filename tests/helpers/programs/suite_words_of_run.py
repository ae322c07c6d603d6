import os
import socket
import subprocess
import sys

from suite import can_be_bound

CODE = """
import os, socket, sys
server = socket.create_server(("127.0.0.1", int(os.environ["NUMBER"])))
print(os.readlink("/proc/self/fd/0"), sys.stdin.read(), flush=True)
server.accept()
"""
PROGRAM = [sys.executable, "-c", CODE]


def test_one(run_on_port):
    running = run_on_port(PROGRAM, port=20123, variables={"NUMBER": "{port}"}, stdout=subprocess.PIPE)
    assert running.port == 20123
    assert running.stdout.readline() == b"/dev/null \n"


def test_another(run_on_port):
    with open("input", "w+") as file:
        running = run_on_port(PROGRAM, env={**os.environ, "NUMBER": "8080"}, map_=8080, stdin=file)
    socket.create_connection(("127.0.0.1", running.port)).close()


def test_several(run_on_port):
    code = "import socket, sys; s = [socket.create_server(('', int(p))) for p in sys.argv[1:]]; s[1].accept()"
    web, db = run_on_port([sys.executable, "-c", code, "{web}", "{db}"], as_=["web", "db"]).ports
    socket.create_connection(("127.0.0.1", db)).close()
    assert not can_be_bound(web)
