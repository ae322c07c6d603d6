"""A port of one's own in earnest: servers started again right after their end, and npm in two work trees."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from anyport._clock import pauses
from anyport._linux import sock_diag
from helpers.real_npm import npm_environment
from helpers.real_programs import FILES, HTTP, PROGRAMS, V4, Program
from helpers.real_runs import LIMIT, Run, ask, contained, end, kill
from helpers.running import content_of
from helpers.support import COMMAND, anyport, bound, needs

SERVERS = [program for program in PROGRAMS if program.name in ("redis", "node", "nginx", "http.server-v4")]
PLAIN = next(program for program in PROGRAMS if program.name == "raw")
CLIENTS = 5
PORT_FILE = "dev.port"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the programs find their files."""
    made = tmp_path / "tree"
    shutil.copytree(FILES, made)
    return made


def clients_of(port: int, program: Program) -> list[socket.socket]:
    """Connections that were answered, and are still open at this end."""
    question, answer = program.asked
    connections = []
    for _ in range(CLIENTS):
        client = socket.create_connection((V4, port), LIMIT)
        connections.append(client)
        client.sendall(question.replace(b"HTTP/1.0", b"HTTP/1.1\r\nHost: x"))
        received = b""
        while answer not in received:
            part = client.recv(4096)
            assert part, received
            received += part
    return connections


def left_behind(port: int) -> set[str]:
    """The states of the server's sockets, which no process has any more."""
    rows = sock_diag.sockets("tcp", port)
    assert not any(row.inode for row in rows)
    return {row.state for row in rows}


def hang_up(connections: list[socket.socket]) -> None:
    """Close after the last byte of the server: a close with bytes unread is a reset, which leaves no TIME_WAIT."""
    for client in connections:
        with client:
            while client.recv(4096):
                pass


def wait_for_time_wait(port: int) -> None:
    """The server closed first, so its side has to wait."""
    for _ in pauses(60):
        if left_behind(port) == {"TIME_WAIT"}:
            return
    pytest.fail(f"the server left {left_behind(port)}")


@contextlib.contextmanager
def started(folder: Path, name: str, program: Program) -> Iterator[Run]:
    """`anyport run --here` with this program, ready."""
    run = Run(folder.parent, name, ["--here"], program.line("auto", folder), folder)
    try:
        run.wait()
        yield run
    finally:
        kill(run.tree())
        run.process.kill()
        run.process.wait()


@pytest.mark.parametrize("program", SERVERS, ids=lambda program: program.name)
def test_a_server_has_the_same_number_again(folder: Path, program: Program) -> None:
    """Stopped while clients are connected, and started again at once: their TIME_WAIT is in nobody's way."""
    with contained():
        with started(folder, "first", program) as first:
            clients = clients_of(first.port, program)
            end([first], program.status)
        asked = [anyport("--here", cwd=folder)]  # while the clients have not hung up yet
        hang_up(clients)
        wait_for_time_wait(first.port)
        asked.append(anyport("--here", cwd=folder))
        assert [(each.stdout, each.stderr) for each in asked] == [(f"{first.port}\n", "")] * 2
        assert f"{first.port}, the number of '{folder}', is in use" in anyport("--here", "--strict", cwd=folder).stderr
        with started(folder, "second", program) as second:
            assert "anyport: " not in second.output()
            assert second.port == first.port
            ask(V4, second.port, *program.asked)
            end([second], program.status)


def test_what_a_server_without_reuseaddr_leaves_is_in_everybodys_way(folder: Path) -> None:
    """The kernel refuses that number to whatever socket while it is in TIME_WAIT; stderr says that the name moved."""
    with contained():
        with started(folder, "first", PLAIN) as first:
            clients = clients_of(first.port, PLAIN)
            end([first], PLAIN.status)
        hang_up(clients)
        wait_for_time_wait(first.port)
        with pytest.raises(OSError, match="in use"):
            bound(V4, first.port, reuse=True)
        with started(folder, "second", PLAIN) as second:
            assert second.port != first.port
            assert f"{first.port}, the number of '{folder}', is in use; gave {second.port}" in second.output()
            end([second], PLAIN.status)


@pytest.mark.parametrize("program", SERVERS, ids=lambda program: program.name)
def test_the_number_alone_is_enough(folder: Path, program: Program) -> None:
    """The same with a server that is started by other means: it binds the number over what is left of the last one."""
    asked = []
    with contained():
        for _ in range(2):
            done = anyport("--here", cwd=folder)
            assert done.stderr == ""
            asked.append(int(done.stdout))
            with served(folder, program, asked[-1]) as server:
                clients = clients_of(asked[-1], program)
                server.terminate()
                assert server.wait(LIMIT) == program.status
            hang_up(clients)
            wait_for_time_wait(asked[-1])
    assert asked[0] == asked[1]


@contextlib.contextmanager
def served(folder: Path, program: Program, port: int) -> "Iterator[subprocess.Popen[bytes]]":
    """The server, by itself, and listening."""
    line = [word.replace("{port}", str(port)).replace("{host}", V4) for word in program.line("auto", folder)]
    environment = {**os.environ, "PORT": str(port)}
    with (folder / "output").open("wb") as output:
        server = subprocess.Popen(line, cwd=folder, env=environment, stdout=output, stderr=output)
    try:
        ready = anyport("wait", str(port), "--tree", str(server.pid), "--timeout", f"{LIMIT}s")
        assert ready.returncode == 0, (ready.stderr, (folder / "output").read_text())
        yield server
    finally:
        server.kill()
        server.wait()


SERVER_JS = """
const port = process.argv[process.argv.indexOf("--port") + 1];
require("http").createServer((_, response) => response.end(`${__dirname}\n`)).listen(port, "127.0.0.1");
"""


@pytest.fixture
def two_trees(tmp_path: Path) -> list[Path]:
    """Two work trees of one repository, with a package whose script starts a server."""
    main, linked = tmp_path / "main", tmp_path / "linked"
    git = [needs("git"), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run([*git, "init", "--quiet", main], check=True)
    (main / "server.js").write_text(SERVER_JS)
    (main / "package.json").write_text(
        json.dumps({"name": "x", "version": "1.0.0", "scripts": {"dev": "node server.js"}})
    )
    subprocess.run([*git, "add", "."], cwd=main, check=True)
    subprocess.run([*git, "commit", "--quiet", "--message=x"], cwd=main, check=True)
    subprocess.run([*git, "worktree", "add", "--quiet", linked], cwd=main, check=True)
    return [main, linked]


def test_npm_in_two_work_trees(two_trees: list[Path], tmp_path: Path) -> None:
    """Each has its number, at the same time and again after Ctrl-C, and each serves its own files there."""
    environment = npm_environment(tmp_path)
    numbers = [dev_servers(two_trees, environment) for _ in range(2)]
    assert numbers[0] == numbers[1]
    assert len(set(numbers[0])) == 2
    asked = [anyport("--here", cwd=tree) for tree in two_trees]
    assert [(each.stdout, each.stderr) for each in asked] == [(f"{port}\n", "") for port in numbers[0]]


def dev_servers(trees: list[Path], environment: dict[str, str]) -> list[int]:
    """`npm run dev` in each of the trees, until each has answered, and a Ctrl-C; its ports."""
    with contained(), contextlib.ExitStack() as stack:
        runs = [stack.enter_context(dev_server(tree, environment)) for tree in trees]
        try:
            ports = [int(content_of(tree / PORT_FILE, run)) for tree, run in zip(trees, runs, strict=True)]
            for tree, port in zip(trees, ports, strict=True):
                ask(V4, port, HTTP[0], f"{tree}\n".encode())
        finally:
            for run in runs:
                os.killpg(run.pid, signal.SIGINT)
        for run in runs:
            assert run.communicate(timeout=LIMIT)[1] == ""
            assert run.returncode == -signal.SIGINT
    return ports


def dev_server(tree: Path, environment: dict[str, str]) -> "subprocess.Popen[str]":
    (tree / PORT_FILE).unlink(missing_ok=True)
    line = [COMMAND, "run", "--here", "--port-file", PORT_FILE, "--", "npm", "run", "dev", "--", "--port", "{port}"]
    return subprocess.Popen(
        line, cwd=tree, env=environment, start_new_session=True, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_node_reads_the_shell_file(two_trees: list[Path], tmp_path: Path) -> None:
    """As an --env-file, as it would any `.env`."""
    words = ["--here", "--as", "web", "--as", "db", "--shell-file", ".env.ports"]
    given = anyport(*words, cwd=two_trees[0]).stdout
    script = "console.log(process.env.WEB_PORT); console.log(process.env.DB_PORT)"
    read = subprocess.run(
        ["node", "--env-file=.env.ports", "-e", script],
        cwd=two_trees[0], env=npm_environment(tmp_path), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert (read.stdout, read.stderr) == (given, "")
