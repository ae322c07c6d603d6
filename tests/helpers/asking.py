"""What tests of `anyport who` and `anyport wait` share: how to ask as whom, and what the answer is compared with."""

import contextlib
import os
import pwd
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from helpers.support import anyport, command_as, listening, needs_root

ME = os.getpid()
USER = pwd.getpwuid(os.geteuid()).pw_name
PYTHON = Path("/proc/self/comm").read_text().strip()
OURS = rf"{re.escape(PYTHON)} \(pid {ME}, {USER}\)"  # a pattern


def who(*words: str) -> list[str]:
    """The lines that the command writes; something has the port."""
    done = anyport("who", *words)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def said_of_unused(*words: str) -> list[str]:
    """The lines where nothing has the port."""
    done = anyport("who", *words)
    assert (done.returncode, done.stderr) == (1, "")
    return done.stdout.splitlines()


def who_words(uid: int, *words: str) -> list[str]:
    """The command line of another user's question."""
    python, *options, code, number = command_as(uid)
    return [python, *options, code, number, "who", *words]


def who_as(uid: int, *words: str) -> "subprocess.CompletedProcess[str]":
    """Ask as another user."""
    needs_root()
    return subprocess.run(who_words(uid, *words), capture_output=True, text=True, timeout=60, check=False)


def assert_lines(lines: list[str], *patterns: str) -> None:
    """Each of them whole, and no more of them."""
    assert len(lines) == len(patterns), lines
    for line, pattern in zip(lines, patterns, strict=True):
        assert re.fullmatch(pattern, line), (line, pattern)


LISTENS = """
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("ready", flush=True)
input()
"""


@contextlib.contextmanager
def started_as(uid: int, code: str, *args: str) -> Iterator["subprocess.Popen[str]"]:
    """A process of this user, which has said that it is ready."""
    needs_root()
    become = f"import os, socket, sys\nos.setgroups([]); os.setgid({uid}); os.setuid({uid})\n"
    words = [sys.executable, "-I", "-c", become + code, *args]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def leave_time_wait(port: int, *, reuse: bool = True) -> None:
    """A server answers one client, closes first and is gone."""
    with listening("127.0.0.1", port, reuse=reuse) as server, socket.create_connection(("127.0.0.1", port)) as client:
        server.accept()[0].close()
        assert client.recv(1) == b""
