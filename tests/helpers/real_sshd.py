"""A real sshd on loopback, something to reach through it, and how to see on which addresses ssh listens."""

import contextlib
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from anyport._clock import pauses
from anyport._linux import proc
from anyport._who import table
from helpers.support import anyport, listening, needs, needs_root

CONFIG = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
"""


def listens(port: int, pid: int) -> set[str]:
    """The addresses on which this very process listens, seen in the socket table."""
    rows = table.servers("tcp", port)
    owners = proc.socket_owners({row.inode for row in rows})
    return {row.address for row in rows if any(owner == pid for owner, _ in owners.get(row.inode, ()))}


def wait_until_it_listens(port: int, process: "subprocess.Popen[str]", addresses: int = 1) -> None:
    for _ in pauses(60):
        if len(listens(port, process.pid)) >= addresses:
            return
        assert process.poll() is None, process.communicate()
    pytest.fail(f"port {port} has no listener of pid {process.pid}")


@contextlib.contextmanager
def running(command: list[str]) -> Iterator["subprocess.Popen[str]"]:
    """This command, until the block ends."""
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=60)


@contextlib.contextmanager
def reachable_sshd() -> Iterator[list[str]]:
    """A real sshd on a found port of loopback: the ssh command that reaches it."""
    needs_root()
    ssh, sshd, keygen = needs("ssh"), needs("sshd"), needs("ssh-keygen")
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # privilege separation; Debian's init script makes it
    folder = Path("/tmp", f"anyport-sshd-{os.getpid()}")  # sshd's user must be able to reach the key
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        for name in ("host_key", "key"):
            subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
        port = int(anyport("--in", "2200-2299").stdout)
        (folder / "sshd_config").write_text(CONFIG.format(port=port, folder=folder))
        with running([sshd, "-D", "-e", "-f", str(folder / "sshd_config")]) as process:
            wait_until_it_listens(port, process)
            yield [
                ssh, "-F", "none", "-i", str(folder / "key"), "-p", str(port), "-o", "StrictHostKeyChecking=no",
                "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR", "root@127.0.0.1",
            ]  # fmt: skip
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def echo_server() -> Iterator[int]:
    """Something to reach through the tunnel: sends back the first bytes it gets, in capitals."""
    with listening("127.0.0.1", 0) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection:
                        connection.sendall(connection.recv(100).upper())

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def through_socks(host: str, port: int, target: int) -> bytes:
    """Ask a SOCKS5 proxy (RFC 1928) for a connection to a port of its loopback, and talk over it."""
    with socket.create_connection((host, port), timeout=60) as sock:
        sock.sendall(b"\x05\x01\x00")
        assert sock.recv(2) == b"\x05\x00"
        sock.sendall(b"\x05\x01\x00\x01" + socket.inet_aton("127.0.0.1") + target.to_bytes(2, "big"))
        assert sock.recv(10)[:2] == b"\x05\x00"
        sock.sendall(b"over the tunnel")
        return sock.recv(100)
