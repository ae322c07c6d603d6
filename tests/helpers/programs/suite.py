# ruff: noqa: F401, for those who import all names of this module
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import anyport

SERVER = [sys.executable, str(Path("server.py").absolute()), "{port}", "reuse"]


def answer(port):
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        return client.recv(100)


def can_be_bound(port, *, reuse=False, kind=socket.SOCK_STREAM):
    with socket.socket(type=kind) as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
        try:
            stranger.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
