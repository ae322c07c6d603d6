"""Every test begins with a ledger of its own, and ends with the sockets and children it began with."""

import contextlib
import gc
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from anyport._find import reserved
from anyport._ledger import keeper, place
from helpers.running import LOSES_FIRST, SERVER, STRANGER, script
from helpers.support import IS_ROOT, private_network


def _sockets() -> set[str]:
    links = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            links.add(os.readlink(f"/proc/self/fd/{fd}"))
        except FileNotFoundError:  # the descriptor of this listing
            continue
    return {link for link in links if link.startswith("socket:")}


def _children() -> list[int]:
    return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


def _end(children: list[int]) -> None:
    """So that the next test does not fail for what this one left behind."""
    for pid in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


@pytest.fixture(autouse=True)
def nothing_leaks() -> Iterator[None]:
    """A test that leaves a socket or a child behind fails."""
    before = _sockets()
    yield
    gc.collect()
    left = _children()
    _end(left)
    assert not _sockets() - before, "the test left sockets open"
    assert not left, "the test left children behind"


@pytest.fixture(autouse=True)
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The path of a ledger that only this test and its children use."""
    path = tmp_path / "ledger"
    monkeypatch.setenv(place.VARIABLE, str(path))
    monkeypatch.delenv("PORTSERVER_ADDRESS", raising=False)
    yield path
    reserved.forget()
    for book in keeper._ledgers.values():
        book.forget_lock()
    keeper._ledgers.clear()
    keeper._replaced.clear()
    keeper._told.clear()


@pytest.fixture(autouse=True)
def own_network() -> Iterator[None]:
    """A network namespace for each test, so that what listens on this machine, and its settings, make no difference.

    For root; an ordinary user's tests share the machine's.
    """
    if not IS_ROOT:
        yield
        return
    with private_network():
        yield


@pytest.fixture
def server(tmp_path: Path) -> list[str]:
    path = tmp_path / "server.py"
    path.write_text(SERVER)
    return [sys.executable, str(path), "{port}"]


@pytest.fixture
def loser(tmp_path: Path) -> Iterator[list[str]]:
    """A program that loses its first port to a stranger; it writes down each port that it was given."""
    process = subprocess.Popen(
        [sys.executable, "-c", STRANGER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    yield [*script(tmp_path, LOSES_FIRST), str(tmp_path / "starts"), process.stdout.readline().strip(), "{port}"]
    process.kill()
    process.communicate()
