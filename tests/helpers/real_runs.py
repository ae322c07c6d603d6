"""`anyport run` with real programs: started, waited for, talked to, ended, and nothing left of them."""

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest

from anyport._clock import pauses
from anyport._linux import proc, sock_diag
from anyport._who import table
from helpers.support import COMMAND, IS_ROOT

LIMIT = 60  # seconds, for what takes one or two when the machine is quiet


class Run:
    """A runner and its program, in a folder; `port` is known once it is ready."""

    def __init__(self, folder: Path, name: str, options: Sequence[str], command: Sequence[str], cwd: Path) -> None:
        self._port_file = folder / f"{name}.port"
        self._output = folder / f"{name}.output"
        self.folder = cwd
        self.port = 0
        limits = ["--port-file", str(self._port_file), "--ready-timeout", f"{LIMIT}s"]
        line = [COMMAND, "run", *limits, *options, "--", *command]
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(line, cwd=cwd, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                process_group=0,  # newer ncats end their whole group on SIGTERM
            )  # fmt: skip

    def wait(self) -> None:
        """Until the program has its port."""
        for _ in pauses(LIMIT):
            status = self.process.poll()
            if self._port_file.exists():
                self.port = int(self._port_file.read_text())
                return
            assert status is None, f"ended with {status}: {self.output()}"
        pytest.fail(f"not ready after {LIMIT} s: {self.output()}")

    def output(self) -> str:
        """What the runner and the program have written."""
        return self._output.read_text(errors="replace")

    def tree(self) -> list[int]:
        """The program's processes."""
        return proc.descendants(self.process.pid)

    def addresses(self, protocol: str = "tcp") -> set[str]:
        """Where the program can be reached; on TCP nobody else can be reached on that port."""
        rows = table.servers(protocol, self.port)
        owners = proc.socket_owners({row.inode for row in rows})
        tree = set(self.tree())
        strangers = [row for row in rows if not tree & {pid for pid, _ in owners.get(row.inode, ())}]
        assert not (strangers and protocol == "tcp"), [(row.address, owners.get(row.inode)) for row in strangers]
        return {row.address for row in rows if row not in strangers}

    def is_held(self, protocol: str = "tcp") -> bool:
        """Whether somebody holds the port: has it, and is not reached there."""
        rows = [row for row in sock_diag.sockets(protocol, self.port) if row.state == "BOUND"]
        owners = proc.socket_owners({row.inode for row in rows})
        tree = set(self.tree())
        return any(not tree & {pid for pid, _ in owners.get(row.inode, ())} for row in rows)


@contextlib.contextmanager
def at_once(
    folder: Path, commands: Sequence[Sequence[str]], options: Sequence[str] = (), cwd: Sequence[Path] = ()
) -> Iterator[list[Run]]:
    """`anyport run` with all these commands at once, each ready and on a port of its own.

    They have to end within the block, if it ends well, and all that they started.
    """
    started: list[Run] = []
    try:
        with contained():
            for number, command in enumerate(commands):
                started.append(Run(folder, str(number), options, command, cwd[number] if cwd else folder))
            for run in started:
                run.wait()
            assert len({run.port for run in started}) == len(started)
            yield started
    finally:
        for run in started:
            kill(run.tree())
            run.process.kill()
            run.process.wait()


@contextlib.contextmanager
def contained() -> Iterator[None]:
    """What is started within the block has to end within it; whatever becomes of it, it does not outlive it.

    For root: an ordinary user's tests can't tell which processes are theirs.
    """
    before = in_this_network()
    try:
        yield
        nothing_is_left(in_this_network() - before)
    finally:
        kill(in_this_network() - before)


def kill(pids: Iterable[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def end(runs: Sequence[Run], status: int) -> None:
    """SIGTERM to the runners: all end as their program usually does then, and nothing is left."""
    pids = {pid for run in runs for pid in run.tree()}
    for run in runs:
        run.process.terminate()
    for run in runs:
        assert run.process.wait(LIMIT) == status, run.output()
    nothing_is_left(pids, [run.port for run in runs])


def nothing_is_left(pids: Iterable[int], ports: Iterable[int] = ()) -> None:
    """These processes have ended, or do it soon, and nobody has one of these ports."""
    left: object = None
    for _ in pauses(60):
        left = [f"{pid} {proc.comm(pid)}" for pid in pids if is_alive(pid)], [
            (port, row.address) for port in ports for protocol in ("tcp", "udp")
            for row in table.servers(protocol, port)
        ]  # fmt: skip
        if left == ([], []):
            return
    pytest.fail(f"left: {left}")


def is_alive(pid: int) -> bool:
    """A process that only waits for its parent to take note of its end is not."""
    found = proc.stat(pid)
    return found is not None and found.state not in "ZX"


def in_this_network() -> set[int]:
    """The other processes in this test's network namespace; none for an ordinary user, who shares the machine's."""
    if not IS_ROOT:
        return set()
    mine = os.readlink("/proc/thread-self/ns/net")
    pids = {int(name) for name in os.listdir("/proc") if name.isdecimal()}
    return {pid for pid in pids - {os.getpid()} if _network(pid) == mine}


def _network(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/net")
    except OSError:
        return ""


def ask(host: str, port: int, question: bytes, expected: bytes, protocol: str = "tcp") -> None:
    """Send this to a server, and read until its answer holds what is expected."""
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind) as sock:
        sock.settimeout(LIMIT)
        sock.connect((host, port))
        sock.send(question)
        answer = b""
        while expected not in answer:
            part = sock.recv(4096)
            assert part, f"{host}:{port} answered {answer!r}"
            answer += part
