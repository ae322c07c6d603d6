"""`anyport run --hand-over supervised` and what programs do with their sockets: all as it is without us."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from anyport._clock import pauses
from anyport._linux import sock_diag
from anyport._who import table
from helpers.real_programs import ECHO, SUPERVISED, V4
from helpers.real_runs import LIMIT, Run, ask, at_once, end
from helpers.real_sshd import CONFIG
from helpers.running import content_of, run, script
from helpers.support import (
    COMMAND,
    NO_VARIABLE,
    NOBODY,
    bound,
    free_uid,
    needs,
    needs_root,
    no_folders,
    program,
    python_as,
)

OPTIONS = ["--hand-over", SUPERVISED]
PORT = "20123"
ONLY = [*OPTIONS, "--port", PORT, "--only"]

THREADED = program("binds_in_thread.py")

# Serves each connection with a new socket, without any option, from within a session of its own.
DAEMON = program("daemon_again_and_again.py")

WAITS = program("listens_later.py")

# Puts itself under a filter that answers bind and listen with this action, and all else with leave.
FILTERED = program("filtered.py")

# What bind and listen leave of the options, the blocking mode and close-on-exec of a socket: all of them on and off.
SETTINGS = program("socket_settings.py")


def states(port: int) -> set[str]:
    """What sockets have this port, connections that are over aside."""
    return {row.state for row in sock_diag.sockets("tcp", port)} & {"LISTEN", "BOUND"}


def owners(port: int) -> set[int]:
    """The users whose sockets listen there."""
    return {row.uid for row in table.servers("tcp", port) if row.uid is not None}


def test_a_server_that_is_made_in_a_thread(tmp_path: Path) -> None:
    """And not in the main one."""
    with at_once(tmp_path, [[*script(tmp_path, THREADED), "{port}"]] * 3, OPTIONS) as runs:
        for each in runs:
            ask(V4, each.port, *ECHO)
            assert each.is_held()
        end(runs, -signal.SIGTERM)


def test_a_program_at_the_end_of_a_chain_of_execs(tmp_path: Path) -> None:
    """The process is the same, the program another one each time."""
    chain = """exec env ONE=1 sh -c 'exec setsid sh -c "exec \\"\\$@\\"" sh "$@"' sh "$@" """
    command = ["sh", "-c", chain, "sh", *script(tmp_path, THREADED), "{port}"]
    with at_once(tmp_path, [command], OPTIONS) as [each]:
        ask(V4, each.port, *ECHO)
        end([each], -signal.SIGTERM)


def said_by(port: int) -> tuple[int, int]:
    """What a daemon answers: its pid and how many connections it had before; it may be just about to listen again."""
    for _ in pauses(LIMIT):
        try:
            with socket.create_connection((V4, port), timeout=LIMIT) as sock:
                pid, number = sock.makefile().readline().split()
                return int(pid), int(number)
        except ConnectionRefusedError:
            continue
    pytest.fail(f"nobody listens on {port}")


def test_three_daemons_bind_again_when_their_runner_has_ended(tmp_path: Path) -> None:
    """Nobody else can; and when they end nothing is left, neither of them nor of us."""
    with at_once(tmp_path, [[*script(tmp_path, DAEMON), "{port}"]] * 3, OPTIONS) as runs:
        for each in runs:
            assert each.process.wait(LIMIT) == 0, each.output()
        for each in runs:
            answers = [said_by(each.port) for _ in range(4)]
            daemon = answers[0][0]
            assert answers == [(daemon, number) for number in range(4)]
            with pytest.raises(OSError, match="in use"):
                bound("127.0.0.9", each.port, reuse=True)
            assert any(states(each.port) == {"LISTEN", "BOUND"} for _ in pauses(LIMIT))
            os.kill(daemon, signal.SIGTERM)
        assert any(not any(states(each.port) for each in runs) for _ in pauses(LIMIT))


SETPRIV = f"setpriv --reuid={NOBODY} --regid={NOBODY}"


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (f"{SETPRIV} --clear-groups socat tcp-listen:{{port}},fork exec:cat", 128 + signal.SIGTERM),
        (f"{SETPRIV} --no-new-privs --clear-groups socat tcp-listen:{{port}},fork exec:cat", 128 + signal.SIGTERM),
        ("su nobody -s /bin/sh -c 'exec socat tcp-listen:{port},fork exec:cat'", -signal.SIGTERM),
    ],
    ids=["setpriv", "no-new-privs", "su"],
)
def test_three_programs_that_give_up_being_root(words: str, status: int, tmp_path: Path) -> None:
    """They are supervised all the same, and their sockets are their own."""
    needs_root()
    needs("socat")
    with at_once(tmp_path, [["sh", "-c", f"exec {words}"]] * 3, OPTIONS) as runs:
        for each in runs:
            ask(V4, each.port, *ECHO)
            assert each.is_held()
            assert owners(each.port) == {NOBODY}
        end(runs, status)


def test_the_runner_of_an_ordinary_user() -> None:
    """Without any privilege of its own; and the program can't gain one."""
    needs_root()
    needs("socat")
    uid = free_uid("supervised")
    talk = "socat tcp-listen:{port} exec:cat & echo hello | socat - tcp:127.0.0.1:{port},retry=400,interval=0.05; wait"
    with no_folders(uid):
        code = f"{NO_VARIABLE}from anyport.__main__ import run\nsys.exit(run(sys.argv[1:]))"
        done = python_as(uid, code, "run", *OPTIONS, "--", "sh", "-c", talk)
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello\n", "")


@pytest.mark.parametrize(("action", "said"), [(0x7FFF0000, "listens"), (0x00050001, "Operation not permitted")])
def test_a_program_with_a_filter_of_its_own(action: int, said: str, tmp_path: Path) -> None:
    """One that allows all is no obstacle; one that refuses is obeyed."""
    done = run(*OPTIONS, "--", *script(tmp_path, FILTERED), "{port}", str(action))
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{said}\n", "")


def test_it_is_ready_at_its_listen_and_not_before(tmp_path: Path) -> None:
    """Neither for another port, nor for its bind."""
    file = tmp_path / "port"
    command = [*OPTIONS, "--port-file", str(file), "--", *script(tmp_path, WAITS), "{port}", str(file)]
    process = subprocess.Popen(
        [COMMAND, "run", *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert process.stdin
    assert process.stdout
    try:
        assert process.stdout.readline() == "bound\n"
        assert not file.exists()
        process.stdin.write("listen\n")
        assert process.stdout.readline() == "listens\n"
        port = int(content_of(file, process))
        assert states(port) == {"LISTEN", "BOUND"}
    finally:
        process.communicate("end\n", timeout=LIMIT)
    assert process.returncode == 0


def test_a_socket_is_what_it_was_after_its_bind_and_its_listen(tmp_path: Path) -> None:
    """Options, blocking mode, close-on-exec, on and off; and the same names as without us."""
    command = [*script(tmp_path, SETTINGS), PORT]
    plain = subprocess.run(command, capture_output=True, text=True, check=True)
    done = run(*ONLY, "--", *command)
    assert (done.returncode, done.stdout, done.stderr) == (0, plain.stdout, "")
    assert len(plain.stdout.splitlines()) == 96


@pytest.fixture
def sshd(tmp_path: Path) -> list[str]:
    """The sshd command, with its files in the test's folder."""
    needs_root()
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # privilege separation; Debian's init script makes it
    for name in ("host_key", "key"):
        subprocess.run([needs("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    (tmp_path / "sshd_config").write_text(CONFIG.format(port=22, folder=tmp_path))
    return [needs("sshd"), "-D", "-e", "-f", str(tmp_path / "sshd_config"), "-p", "{port}"]


def ssh(each: Run, *words: str) -> list[str]:
    """The command that logs in there."""
    options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes", "LogLevel=ERROR"]
    return [
        needs("ssh"), "-F", "none", "-i", str(each.folder / "key"), "-p", str(each.port),
        *(f"-o{option}" for option in options), "root@127.0.0.1", *words,
    ]  # fmt: skip


def test_a_session_of_a_supervised_sshd_can_have_servers(sshd: list[str], tmp_path: Path) -> None:
    """On other ports, long after the start; on sshd's own port it finds sshd."""
    code = (
        "import errno, socket, sys; server = socket.create_server(('127.0.0.1', 0));"
        "client = socket.create_connection(server.getsockname()); print(client.getpeername() == server.getsockname());"
        "print(errno.errorcode[socket.socket().connect_ex(('127.0.0.1', int(sys.argv[1]))) or errno.EISCONN]);"
        "socket.create_server(('127.0.0.1', int(sys.argv[1])))"
    )
    with at_once(tmp_path, [sshd], OPTIONS) as [each]:
        line = f'{sys.executable} -c "{code}" {each.port}'
        done = subprocess.run(ssh(each, line), capture_output=True, text=True, check=False, timeout=LIMIT)
        assert (done.returncode, done.stdout) == (1, "True\nEISCONN\n")
        assert "Address already in use" in done.stderr
        end([each], 0)
