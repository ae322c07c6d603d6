"""Real programs, each in the hand-overs that it supports: three at once, reached where they usually are, and ended."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.real_programs import AS_POSTGRES, FILES, INHERITED, PROGRAMS, V4, V6, Program, words
from helpers.real_runs import ask, at_once, end
from helpers.support import IS_ROOT, needs

CASES = [(program, how) for program in PROGRAMS for how in program.hand_overs()]


@pytest.fixture(scope="session")
def static(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Where `server` is, a Go program without a dynamic linker, whom no preloaded library could reach."""
    folder = tmp_path_factory.mktemp("static")
    environment = {"HOME": str(folder), **os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local"}
    command = [needs("go"), "build", "-o", str(folder / "server"), str(FILES / "server.go")]
    subprocess.run(command, env=environment, cwd=folder, check=True)
    assert b"ld-linux" not in (folder / "server").read_bytes()
    return [folder] * 3


@pytest.fixture(scope="session")
def classes(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Where Server.class is."""
    folder = tmp_path_factory.mktemp("classes")
    subprocess.run([needs("javac"), "-d", str(folder), str(FILES / "Server.java")], check=True)
    return [folder] * 3


@pytest.fixture(scope="session")
def host_key(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Where sshd's key is."""
    folder = tmp_path_factory.mktemp("sshd")
    subprocess.run([needs("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", folder / "host_key"], check=True)
    if IS_ROOT:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # privilege separation; Debian's init script makes it
    return [folder] * 3


@pytest.fixture(scope="session")
def clusters() -> Iterator[list[Path]]:
    """Three database clusters, where PostgreSQL's user can reach them."""
    initdb = words(f"{AS_POSTGRES}initdb --no-sync --wal-segsize=1 --auth=trust -D .")
    folder = Path(tempfile.mkdtemp(prefix="anyport-postgres-", dir="/tmp"))
    folder.chmod(0o755)
    (folder / "0").mkdir(mode=0o700)
    if IS_ROOT:
        shutil.chown(folder / "0", "postgres", "postgres")
    try:
        subprocess.run(initdb, cwd=folder / "0", stdout=subprocess.DEVNULL, check=True)
        for copy in "12":
            subprocess.run(["cp", "-a", folder / "0", folder / copy], check=True)
        yield [folder / name for name in "012"]
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def folders(request: pytest.FixtureRequest, tmp_path: Path) -> list[Path]:
    """The folders in which the three run."""
    made_by = request.getfixturevalue("program").made_by
    if made_by:
        made: list[Path] = request.getfixturevalue(made_by)
        return made
    return [Path(shutil.copytree(FILES, tmp_path / name)) for name in "012"]


@pytest.mark.slow
@pytest.mark.parametrize(("program", "how"), CASES, ids=[f"{program.name}-{how}" for program, how in CASES])
def test_three_at_once(program: Program, how: str, folders: list[Path], tmp_path: Path) -> None:
    """Each has a port of its own, answers where it usually does and nowhere else, and ends as it usually does."""
    hosts = (V4, V6) if how == INHERITED else program.hosts
    commands = [program.line(how, folder) for folder in folders]
    with at_once(tmp_path, commands, program.options(how), folders) as runs:
        for run in runs:
            assert run.addresses(program.protocol)
            assert run.is_held(program.protocol) == program.is_held(how)
            for host in hosts:
                ask(host, run.port, *program.asked, program.protocol)
            if V6 not in hosts and program.protocol == "tcp":
                with pytest.raises(ConnectionRefusedError), socket.create_connection((V6, run.port)):
                    pass
        end(runs, program.status)
