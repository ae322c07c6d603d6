"""nginx in earnest: two workers, reloads that need another socket on the same port, and as a daemon."""

import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from anyport._clock import pauses
from anyport._linux import sock_diag
from helpers.real_programs import FILES, HTTP, V4, V6, words
from helpers.real_runs import LIMIT, Run, ask, at_once, end, is_alive, kill

GET = HTTP[0]


def start(folder: Path, listen: str, daemon: str = "off") -> list[str]:
    """The command that makes nginx's file in this folder and starts it."""
    shutil.copytree(FILES, folder, dirs_exist_ok=True)
    return words(f"sh nginx.sh nginx {daemon} '{listen}'")


def reload(folder: Path, pid: int, listen: str) -> None:
    """Another text, and another address."""
    path = folder / "nginx.conf"
    path.write_text(re.sub("(?=listen )", f"listen {listen};", path.read_text().replace("hello", "again"), count=1))
    os.kill(pid, signal.SIGHUP)


def wait_until(is_so: Callable[..., object], *args: object) -> None:
    for _ in pauses(LIMIT):
        if is_so(*args):
            return
    pytest.fail(f"not seen in {LIMIT} s: {is_so.__name__}{args}")


def has_two_workers(run: Run) -> bool:
    return len(run.tree()) == 3


def have_ended(pids: list[int]) -> bool:
    return not any(map(is_alive, pids))


def says(text: bytes, port: int) -> bool:
    """Whether that is the answer on both loopbacks by now."""
    try:
        for host in (V4, V6):
            ask(host, port, GET, text)
    except (OSError, AssertionError):
        return False
    return True


@pytest.mark.parametrize("options", ["", " reuseport"])
def test_three_reload(tmp_path: Path, options: str) -> None:
    """A hang-up of the runner is one of nginx: it listens on one more address of its port, with two new workers."""
    folders = [tmp_path / name for name in "012"]
    commands = [start(folder, f"{V4}:PORT{options}") for folder in folders]
    with at_once(tmp_path, commands, cwd=folders) as runs:
        for run in runs:
            wait_until(has_two_workers, run)
            master, *workers = run.tree()
            ask(V4, run.port, GET, b"hello")
            assert run.addresses() == {V4}
            reload(run.folder, run.process.pid, f"[{V6}]:{run.port}{options}")
            wait_until(says, b"again", run.port)
            wait_until(have_ended, workers)
            wait_until(has_two_workers, run)
            assert run.tree()[0] == master
            assert run.addresses() == {V4, V6}
            assert run.is_held()
        end(runs, 0)


def pid_in(path: Path) -> int:
    """0 while the file is not there, or empty."""
    try:
        return int(path.read_text() or 0)
    except FileNotFoundError:
        return 0


def states(port: int) -> set[str]:
    """What sockets have this port, connections that are over aside."""
    return {row.state for row in sock_diag.sockets("tcp", port)} & {"LISTEN", "BOUND"}


def is_free(port: int) -> bool:
    return not states(port)


def test_three_daemons(tmp_path: Path) -> None:
    """The command returns, the hold stays for the reload of the daemon, and ends with it."""
    folders = [tmp_path / name for name in "012"]
    files = [folder / "nginx.pid" for folder in folders]
    commands = [start(folder, f"{V4}:PORT", "on") for folder in folders]
    with at_once(tmp_path, commands, cwd=folders) as runs:
        try:
            for run, file in zip(runs, files, strict=True):
                assert run.process.wait(LIMIT) == 0, run.output()
                ask(V4, run.port, GET, b"hello")
                assert states(run.port) == {"LISTEN", "BOUND"}
                wait_until(pid_in, file)
                reload(run.folder, pid_in(file), f"[{V6}]:{run.port}")
                wait_until(says, b"again", run.port)
                assert states(run.port) == {"LISTEN", "BOUND"}
            for number, file in zip((signal.SIGQUIT, signal.SIGTERM, signal.SIGTERM), files, strict=True):
                os.kill(pid_in(file), number)
            for run in runs:
                wait_until(is_free, run.port)
        finally:
            kill(filter(None, map(pid_in, files)))  # nginx removes the file when it ends
