"""What tests of `anyport run` share: programs to run, and how to start and end them."""

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from anyport._clock import pauses
from anyport._linux import sock_diag
from helpers.support import COMMAND, anyport, program

# A server: PORT [reuse] [HOST].  It answers each connection with its pid, until it gets SIGTERM.
SERVER = program("server.py")


# Takes the port that it is told on its socket: a stranger, for it is no descendant of the runner.
STRANGER = """
import socket
door = socket.create_server(("127.0.0.1", 0))
print(door.getsockname()[1], flush=True)
connection, _ = door.accept()
server = socket.create_server(("", int(connection.recv(10))))
connection.sendall(b"taken")
connection.recv(1)
input()
"""
LOSES_FIRST = """
import os, socket, sys
starts, door, port = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
if not os.path.exists(starts):
    stranger = socket.create_connection(("127.0.0.1", door))
    stranger.sendall(b"%d" % port)
    assert stranger.recv(10) == b"taken"
print(port, file=open(starts, "a"), flush=True)
server = socket.create_server(("", port))
"""


def script(tmp_path: Path, code: str) -> list[str]:
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(code))
    return [sys.executable, str(path)]


def run(*words: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    return anyport("run", *words, **options)


def start(*words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [COMMAND, "run", *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def content_of(path: Path, process: "subprocess.Popen[str]") -> str:
    """Of a port file, once it is there."""
    for _ in pauses(60):
        if path.exists():
            return path.read_text()
        assert process.poll() is None, process.communicate()
    pytest.fail("there is no port file")


def end(process: "subprocess.Popen[str]", status: int = 0) -> str:
    """Stop the runner, which stops the program; its standard error."""
    process.terminate()
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == status
    return errors


def is_in_use(port: int) -> bool:
    """Whether a process has a TCP socket on this port; what is left in TIME_WAIT does not count."""
    return any(row.inode for row in sock_diag.sockets("tcp", port))


def assert_refused(done: "subprocess.CompletedProcess[str]", status: int, message: str) -> None:
    """Nothing but one line that says so, and one with a way out."""
    assert (done.returncode, done.stdout) == (status, "")
    first, second = done.stderr.splitlines()
    assert first.startswith("anyport: ")
    assert message in first
    assert second.startswith("hint: ")
