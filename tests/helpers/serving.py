"""What tests of `anyport serve` share: a server, clients of any kind, and what the ledger has."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from anyport._clock import boot_microseconds, pauses
from anyport._ledger import record
from anyport._ledger.place import VARIABLE
from helpers.support import COMMAND

PORTS = "20100-20199"


class Serving:
    """A running server: where it listens, its process, and what it has said."""

    def __init__(self, process: "subprocess.Popen[str]", address: str, said: Path) -> None:
        self.process = process
        self.address = address
        self._said = said

    @property
    def said(self) -> str:
        return self._said.read_text()

    def until_said(self, words: str) -> str:
        """All that it has said, once these words are among it."""
        for _ in pauses(60):
            if words in self.said:
                return self.said
        raise AssertionError(f"the server never said {words!r}: {self.said}")

    def ask(self, pid: "int | str | bytes") -> bytes:
        """What it answers to this pid, or these bytes."""
        return ask(self.address, pid)

    def port(self, pid: "int | None" = None) -> int:
        """A port for this process, or ours."""
        return int(self.ask(os.getpid() if pid is None else pid))

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


def connected(address: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(60)
    try:
        sock.connect("\0" + address[1:] if address.startswith("@") else address)
    except OSError:
        sock.close()
        raise
    return sock


def ask(address: str, words: "int | str | bytes") -> bytes:
    with connected(address) as sock:
        sock.sendall(words if isinstance(words, bytes) else f"{words}\n".encode())
        answer = b""
        while part := sock.recv(1024):
            answer += part
    return answer


@contextlib.contextmanager
def serving(
    folder: Path, *words: str, address: "str | None" = None, command: "list[str] | None" = None, pool: str = PORTS
) -> Iterator[Serving]:
    """A server that is ready; it is stopped in the end, and must end well."""
    address = address or str(folder / "portserver")
    said = folder / "said"
    line = [*(command or [COMMAND]), "serve", "--socket", address, *(["--pool", pool] if pool else []), *words]
    with said.open("a") as file:
        process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=file, text=True)
    with process:
        try:
            assert process.stdout
            first = process.stdout.readline()
            assert first == f"PORTSERVER_ADDRESS={address}\n", said.read_text()
            yield Serving(process, address, said)
            if process.poll() is None:
                process.terminate()
                assert process.wait(60) == 0, said.read_text()
        finally:
            process.kill()


@contextlib.contextmanager
def another_process() -> Iterator["subprocess.Popen[bytes]"]:
    """One that lives until it is told to end."""
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", "input()"], stdin=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def claims() -> "dict[int, int]":
    """The pid of the process that each port of this test's ledger is claimed for."""
    slots = Path(os.environ[VARIABLE]).read_bytes()
    now = boot_microseconds()
    found = {port: record.record_in(slots, port) for port in record.claims_in(slots, now, lambda _owner: True)}
    return {port: record.unpack_process(owner)[0] for port, each in found.items() if (owner := record.process_of(each))}


def until_claims(expected: "dict[int, int]") -> None:
    for _ in pauses(60):
        if claims() == expected:
            return
    raise AssertionError(f"claimed are {claims()}, not {expected}")
