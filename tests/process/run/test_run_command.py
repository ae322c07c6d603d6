"""`anyport run`: what the program gets, and what becomes of it when it loses its port."""

import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from anyport._linux import proc, sock_diag
from anyport._who import table
from helpers.running import content_of, end, run, script, start
from helpers.sandboxes import run_within, start_within
from helpers.support import COMMAND, bound, listening


def test_placeholders_and_variables(tmp_path: Path) -> None:
    """Filled in in arguments; PORT, the labels' and --env's variables; nothing else is touched."""
    program = script(tmp_path, "import json, os, sys; print(json.dumps([sys.argv[1:], dict(os.environ)]))")
    words = ["--as", "web", "--as", "db", "--env", "URL=http://{address}/{db}", "--", *program]
    done = run(*words, "{web}", "-p{db}", "{port}", "{host}", "{print}", "${web}", env={**os.environ, "KEPT": "yes"})
    arguments, variables = json.loads(done.stdout)
    web, db = arguments[0], arguments[1][2:]
    assert arguments == [web, f"-p{db}", web, "127.0.0.1", "{print}", "${web}"]
    assert variables["PORT"] == variables["WEB_PORT"] == web
    assert variables["DB_PORT"] == db
    assert variables["URL"] == f"http://127.0.0.1:{web}/{db}"
    assert variables["KEPT"] == "yes"
    assert done.stderr == ""


def test_the_command_begins_at_the_first_word_that_is_no_option() -> None:
    """As for env and timeout; `--` is for those that begin with a dash."""
    assert run("-n", "2", "--in=7002-7011", "echo", "--", "-n", "{port}").stdout.startswith("-- -n 70")
    assert run("--", "echo", "--").stdout == "--\n"


def test_a_named_host_is_what_host_stands_for() -> None:
    """And an IPv6 address stands in brackets."""
    assert run("--host", "::1", "--", "echo", "{host}", "{address}").stdout.startswith("::1 [::1]:")


def test_the_program_gets_a_held_port(tmp_path: Path) -> None:
    """Before it binds: nobody without SO_REUSEADDR can, and the kernel's table shows the hold."""
    program = script(
        tmp_path,
        """
        import socket, sys
        try:
            socket.socket().bind(("", int(sys.argv[1])))
        except OSError as error:
            print(error)
        """,
    )
    assert "in use" in run("--hand-over", "shared", "--", *program, "{port}").stdout


@pytest.mark.parametrize("how", ["shared", "released", "auto"])
def test_a_server_runs_and_is_ready_when_it_listens(how: str, server: list[str], tmp_path: Path) -> None:
    """The port file appears when the program's own tree listens, and holds the number."""
    file = tmp_path / "port"
    process = start("--hand-over", how, "--port-file", str(file), "--", *server, "reuse")
    port = int(content_of(file, process))
    rows = table.servers("tcp", port)
    assert {pid for each in proc.socket_owners({row.inode for row in rows}).values() for pid, _ in each} <= set(
        proc.descendants(process.pid)
    )
    assert ["BOUND" in [row.state for row in sock_diag.sockets("tcp", port)]] == [how != "released"]
    assert end(process) == ""
    assert not sock_diag.sockets("tcp", port)


def test_a_program_without_reuseaddr_is_supervised(server: list[str], tmp_path: Path) -> None:
    """auto: it gets its port at its one start, past a door that stays shut, and nothing is said."""
    file = tmp_path / "port"
    process = start("--port-file", str(file), "--", *server)
    port = int(content_of(file, process))
    assert {row.state for row in sock_diag.sockets("tcp", port)} == {"BOUND", "LISTEN"}
    with pytest.raises(OSError, match="in use"):
        bound("127.0.0.2", port, reuse=True)
    assert end(process) == ""
    assert not sock_diag.sockets("tcp", port)


def test_a_program_without_reuseaddr_is_started_again_released(server: list[str], tmp_path: Path) -> None:
    """auto, where it can't be supervised: our own hold refused it, which is seen; the same port, said in one line."""
    file = tmp_path / "port"
    process = start_within("no-seccomp", "--port-file", str(file), "--", *server)
    port = content_of(file, process).strip()
    not_supervised, *told = [line for line in end(process).splitlines() if line.startswith("anyport: ")]
    why = "nobody else has it, so it seems to set no SO_REUSEADDR; now released"
    assert not_supervised.startswith("anyport: note: shared, not supervised: ")
    assert told == [f"anyport: note: the program ended with status 1 and without {port}: {why}"]


def test_shared_does_not_become_released_in_silence(server: list[str]) -> None:
    """What was asked for: one start, the program's status, and where to look."""
    done = run("--hand-over", "shared", "--", *server)
    assert done.returncode == 1
    assert done.stderr.count("Traceback") == 1
    assert "hint: if it sets no SO_REUSEADDR: --hand-over released" in done.stderr


@pytest.mark.parametrize("code", ["import sys; sys.exit(7)", "raise SystemExit(255)", "def (", "1 / 0"])
def test_another_failure_is_no_conflict(code: str, tmp_path: Path) -> None:
    """One start, its status, and not a word."""
    starts = tmp_path / "starts"
    done = run("--", "sh", "-c", f'echo x >>{starts}; exec "$@"', "sh", *script(tmp_path, code))
    assert done.returncode == {"import sys; sys.exit(7)": 7, "raise SystemExit(255)": 255}.get(code, 1)
    assert starts.read_text() == "x\n"
    assert "anyport" not in done.stderr


def test_a_killed_program_is_not_started_again(tmp_path: Path) -> None:
    """And the runner dies by the same signal."""
    starts = tmp_path / "starts"
    done = run("--", "sh", "-c", f"echo x >>{starts}; kill -KILL $$")
    assert done.returncode == -signal.SIGKILL
    assert starts.read_text() == "x\n"


@pytest.mark.parametrize("how", ["shared", "released", "auto"])
def test_a_lost_port_means_another_one(how: str, loser: list[str], tmp_path: Path) -> None:
    """The program is started again on it; the stranger keeps the first.  auto: where it can't be supervised."""
    done = run_within("no-seccomp", "--hand-over", how, "--", *loser)
    first, second = (tmp_path / "starts").read_text().split()
    assert first != second
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stderr.splitlines() if line.startswith("anyport: ")]
    if how == "auto":
        assert told.pop(0).startswith("anyport: note: shared, not supervised: ")
    assert told == [
        f"anyport: note: the program ended with status 1 and without {first}: somebody else has it; now on another port"
    ]


# Waits for a line of input at each stage: before it binds, and between bind and listen.
SLOW = """
import os, socket, sys
port = int(sys.argv[1])
server = socket.socket()
for step in (lambda: None, lambda: server.bind(("127.0.0.1", port)), server.listen):
    step()
    print(port, flush=True)
    sys.stdin.readline()
"""


@pytest.mark.parametrize("how", ["supervised", "auto"])
def test_a_supervised_port_can_not_be_lost(how: str, tmp_path: Path) -> None:
    """Not before the program binds it, nor between its bind and its listen, nor afterwards; whatever others set."""
    with subprocess.Popen(
        [COMMAND, "run", "--hand-over", how, "--", *script(tmp_path, SLOW), "{port}"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdin
        assert process.stdout
        for states in ({"BOUND"}, {"BOUND"}, {"BOUND", "LISTEN"}):
            port = int(process.stdout.readline())
            assert {row.state for row in sock_diag.sockets("tcp", port)} == states
            for reuse in (False, True):
                for host in ("127.0.0.1", "127.0.0.2", "0.0.0.0", "::1", "::"):
                    with pytest.raises(OSError, match="in use"):
                        bound(host, port, reuse=reuse)
            process.stdin.write("\n")
            process.stdin.flush()
        assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == 0


def test_a_stranger_that_had_the_port_before_keeps_it(server: list[str]) -> None:
    """Supervised too: a number that somebody has is none that is held."""
    with listening("127.0.0.1", 20123, reuse=True):
        done = run("--port", "20123", "--only", "--", *server)
    assert done.returncode == 125
    assert "20123/tcp is in use: python" in done.stderr


def test_retries_come_to_an_end(loser: list[str], tmp_path: Path) -> None:
    """--retries 0: the program's own failure is all there is."""
    done = run("--hand-over", "shared", "--retries", "0", "--", *loser)
    assert done.returncode == 1
    assert done.stderr.endswith(": somebody else has it; no retry is left\n")
    assert len((tmp_path / "starts").read_text().split()) == 1


def test_only_that_port_and_it_is_lost(loser: list[str]) -> None:
    """No other port will do: the error says who has it, 125."""
    done = run("--hand-over", "shared", "--port", "20123", "--only", "--", *loser)
    assert done.returncode == 125
    assert "20123/tcp is in use: python" in done.stderr


INHERITS = """
import os, socket, sys
names = os.environ["LISTEN_FDNAMES"].split(":")
assert os.environ["LISTEN_PID"] == str(os.getpid())
for fd, name in enumerate(names, 3):
    server = socket.socket(fileno=fd)
    print(name, server.getsockname()[1], server.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN), flush=True)
"""


def test_a_program_inherits_its_sockets(tmp_path: Path) -> None:
    """From descriptor 3 on, listening, with the labels for names; UDP ones are bound."""
    done = run(
        "--hand-over", "inherited", "--as", "web", "--as", "db", "--", *script(tmp_path, INHERITS), "{web}", "{db}"
    )
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [(name, listens) for name, _, listens in rows] == [("web", "1"), ("db", "1")]
    udp = run("--udp", "--hand-over", "inherited", "--", *script(tmp_path, INHERITS)).stdout.split()
    assert udp[0] == udp[1]
    assert udp[2] == "0"


def test_fd_means_inherited(tmp_path: Path) -> None:
    """Connections queue from the start; nobody could have had the port, whatever they set."""
    file = tmp_path / "port"
    code = "import socket, sys; socket.socket(fileno=int(sys.argv[1])).accept()[0].sendall(b'hello'); input()"
    process = start("--port-file", str(file), "--", *script(tmp_path, code), "{fd}")
    port = int(content_of(file, process))
    with socket.create_connection(("::1", port)) as client:
        assert client.recv(10) == b"hello"
    process.wait(60)
    process.communicate()
