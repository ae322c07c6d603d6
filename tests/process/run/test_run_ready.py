"""`anyport run`: when the program is ready, who is told, and what if it never is."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from anyport._cli import run_options
from anyport._cli.run import DEFAULTS
from anyport._clock import pauses
from anyport._find.selection import Selection
from anyport._linux import proc, sock_diag
from anyport._who import table
from helpers.running import assert_refused, content_of, end, is_in_use, run, script, start
from helpers.sandboxes import run_within
from helpers.support import COMMAND, bound, listening, program
from helpers.terminal import ours


def test_a_stale_port_file_is_not_believed(tmp_path: Path) -> None:
    """It is removed before the program starts, and not written if that never gets ready."""
    file = tmp_path / "port"
    file.write_text("1\n")
    assert run("--port-file", str(file), "--", "true").returncode == 0
    assert not file.exists()


def test_the_port_file_as_json(tmp_path: Path, server: list[str]) -> None:
    """The same facts as `anyport --json`; several ports are a line each."""
    file = tmp_path / "port"
    process = start("--json", "--port-file", str(file), "--", *server, "reuse")
    assert json.loads(content_of(file, process))["protocols"] == ["tcp"]
    end(process)
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".tmp"] == []


def test_verbose_says_the_port_when_the_program_listens(server: list[str]) -> None:
    """On standard error, once."""
    process = start("-v", "--in", "7002-7011", "--", *server, "reuse")
    assert process.stderr
    assert process.stderr.readline().startswith("anyport: note: the program listens on 70")
    assert end(process) == ""


def test_a_program_that_is_late_is_stopped(tmp_path: Path) -> None:
    """125, and the message says what it did bind."""
    program = script(tmp_path, "import socket, time; s = socket.create_server(('127.0.0.1', 8123)); time.sleep(60)")
    done = run("--ready-timeout", "1s", "--", *program)
    assert done.returncode == 125
    first, second = done.stderr.splitlines()
    assert first.startswith("anyport: the program was stopped: not listening on ")
    assert first.endswith(" within 1 s; it listens on tcp 127.0.0.1:8123")
    assert second == "hint: give it the number as an argument: {port} stands for it"


@pytest.mark.slow
def test_a_late_program_that_ignores_sigterm_is_killed_with_its_tree(tmp_path: Path) -> None:
    """Nothing of it stays."""
    pids = tmp_path / "pids"
    program = f"trap '' TERM; sleep 61 & echo $$ $! >{pids}; sleep 62; sleep 63"
    process = start("--ready-timeout", "300ms", "--", "sh", "-c", program)
    assert process.communicate(timeout=60)[1].startswith("anyport: the program was stopped")
    assert process.returncode == 125
    assert [pid for pid in pids.read_text().split() if Path(f"/proc/{pid}").exists()] == []


def test_a_stranger_on_the_port_is_not_readiness(tmp_path: Path) -> None:
    """What listens there is not of the program's tree."""
    file = tmp_path / "port"
    process = start("--hand-over", "released", "--port", "20123", "--only", "--ready-timeout", "1s", "--port-file",
                    str(file), "--", "sleep", "60")  # fmt: skip
    assert any(not is_in_use(20123) and proc.descendants(process.pid) for _ in pauses(60))
    with listening("127.0.0.1", 20123):
        assert "it listens on no port at all" in process.communicate(timeout=60)[1]
    assert not file.exists()


def test_udp_is_ready_when_it_is_bound(tmp_path: Path) -> None:
    """There is no listen."""
    file = tmp_path / "port"
    code = """
    import socket, sys
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("127.0.0.1", int(sys.argv[1])))
    data, peer = server.recvfrom(100)
    server.sendto(data.upper(), peer)
    """
    process = start("--udp", "--port-file", str(file), "--", *script(tmp_path, code), "{port}")
    port = int(content_of(file, process))
    with bound("127.0.0.1", 0, socket.SOCK_DGRAM) as client:
        client.sendto(b"hello", ("127.0.0.1", port))
        client.settimeout(60)
        assert client.recv(10) == b"HELLO"
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_several_ports_are_ready_together(tmp_path: Path) -> None:
    """The file is not written before the last of them listens."""
    file = tmp_path / "port"
    code = """
    import socket, sys
    first = socket.create_server(("", int(sys.argv[1])))
    sys.stdin.readline()
    second = socket.create_server(("", int(sys.argv[2])))
    sys.stdin.readline()
    """
    process = subprocess.Popen(
        [COMMAND, "run", "--as=a", "--as=b", "--port-file", str(file), "--", *script(tmp_path, code), "{a}", "{b}"],
        stdin=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin
    assert any(len(list_of_listeners()) == 1 for _ in pauses(60))
    assert not file.exists()
    process.stdin.write("\n")
    process.stdin.flush()
    assert len(content_of(file, process).split()) == 2
    process.communicate("\n", timeout=60)


def list_of_listeners() -> list[int]:
    return [row.port for row in table.servers("tcp")]


def runners() -> list[int]:
    """The pids of this test's runners that are in the background."""
    found = []
    for pid in ours():
        with contextlib.suppress(FileNotFoundError):  # it has just ended
            stat, words = proc.stat(pid), Path(f"/proc/{pid}/cmdline").read_bytes()
            if stat and stat.parent == 1 and b"--detach" in words:
                found.append(pid)
    return found


def test_detach_prints_the_port_when_the_program_is_ready(server: list[str], tmp_path: Path) -> None:
    """And leaves it and its runner in the background: own session, nothing of ours open."""
    log = tmp_path / "log"
    done = run("--detach", "--log", str(log), "--", *server, "reuse", timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    with socket.create_connection(("127.0.0.1", int(done.stdout))) as client:
        pid = int(client.recv(20))
    found = proc.stat(pid)
    assert found
    runner = found.parent
    try:
        assert os.getsid(runner) == os.getsid(pid) == runner
        for stream, file in enumerate((os.devnull, str(log), str(log))):
            assert os.readlink(f"/proc/{pid}/fd/{stream}") == file
    finally:
        os.kill(runner, signal.SIGTERM)
    assert any(not proc.stat(runner) or proc.stat(runner).state == "Z" for _ in pauses(60))  # type: ignore[union-attr]
    assert not is_in_use(int(done.stdout))


def test_detach_does_not_make_a_substitution_wait(server: list[str]) -> None:
    """`port=$(anyport run --detach ... 2>&1)`: nothing keeps the pipe open."""
    done = subprocess.run(
        ["bash", "-c", 'port=$("$@" 2>&1) && echo "$port"', "bash", COMMAND, "run", "--detach", "--", *server, "reuse"],
        capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert done.stdout.strip().isdecimal()
    finally:
        for pid in runners():
            os.kill(pid, signal.SIGTERM)


def test_detach_as_json(server: list[str]) -> None:
    """The facts that `anyport --json` has."""
    facts = json.loads(run("--detach", "--json", "--as", "web", "--", *server, "reuse").stdout)
    for pid in runners():
        os.kill(pid, signal.SIGTERM)
    assert facts["labels"] == {"web": facts["port"]}
    assert facts["pid"] > 1


@pytest.mark.parametrize(
    ("command", "status", "message"),
    [
        ("exit 7", 7, "the program ended with status 7 before it listened on "),
        ("exit 0", 125, "the program ended with status 0 before it listened on "),
        ("kill -USR1 $$", -signal.SIGUSR1, "the program was killed by signal 10 before it listened on "),
        ("sleep 60", 125, "the program was stopped: not listening on "),
    ],
)
def test_detach_fails_when_the_program_does(command: str, status: int, message: str) -> None:
    """Its status, and the reason; no port on standard output."""
    done = run("--detach", "--ready-timeout", "500ms", "--", "sh", "-c", command)
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.startswith(f"anyport: {message}")
    assert any(not runners() for _ in pauses(60))


def test_detach_whose_port_can_not_be_told_stops_the_program(server: list[str]) -> None:
    """Standard output full."""
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [COMMAND, "run", "--detach", "--port", "20123", "--", *server, "reuse"],
            stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 125
    assert "can't write to standard output" in done.stderr
    assert any(not is_in_use(20123) for _ in pauses(60))


def test_a_detached_runner_tells_its_caller_of_restarts(server: list[str], tmp_path: Path) -> None:
    """On the caller's standard error, not in the log; where it can't be supervised, which is told too."""
    log = tmp_path / "log"
    done = run_within("no-seccomp", "--detach", "--log", str(log), "--", *server)
    for pid in runners():
        os.kill(pid, signal.SIGTERM)
    first, second = done.stderr.splitlines()
    assert first.startswith("anyport: note: shared, not supervised: ")
    assert second.endswith("now released")
    assert "anyport: " not in log.read_text()
    assert any(not is_in_use(int(done.stdout)) for _ in pauses(60))


def test_detach_supervises_a_program_without_reuseaddr(server: list[str]) -> None:
    """There is nothing to tell: it is ready after its first start, and nobody else gets in."""
    done = run("--detach", "--", *server)
    try:
        assert done.stderr == ""
        with pytest.raises(OSError, match="in use"):
            bound("127.0.0.2", int(done.stdout), reuse=True)
    finally:
        for pid in runners():
            os.kill(pid, signal.SIGTERM)
    assert any(not is_in_use(int(done.stdout)) for _ in pauses(60))


def test_detach_waits_for_a_daemon(tmp_path: Path) -> None:
    """The program ends at once and leaves a daemon that listens later: that is when it is ready."""
    code = """
    import os, signal, socket, sys, time
    if os.fork():
        os._exit(0)
    os.setsid()
    time.sleep(0.3)
    server = socket.create_server(("", int(sys.argv[1])))
    open(sys.argv[2], "w").write(str(os.getpid()))
    server.accept()
    """
    pid_file = tmp_path / "pid"
    done = run("--detach", "--", *script(tmp_path, code), "{port}", str(pid_file))
    assert done.returncode == 0, done.stderr
    port = int(done.stdout)
    assert {row.state for row in sock_diag.sockets("tcp", port)} == {"LISTEN", "BOUND"}
    assert any(pid_file.exists() and pid_file.read_text() for _ in pauses(60))
    os.kill(int(pid_file.read_text()), signal.SIGKILL)
    assert any(not is_in_use(port) for _ in pauses(60))


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        ([], 125, "there is no command to run"),
        (["--"], 125, "there is no command to run"),
        (["--", ""], 125, "the command is an empty text"),
        (["8080", "--", "true"], 127, "8080 can't be started"),
        (["--", "no-such-program"], 127, "no-such-program can't be started: it is not in PATH"),
        (["--", "./no-such-file"], 127, "./no-such-file can't be started: there is no such file"),
        (["--", "/etc"], 126, "/etc can't be started: it is a directory"),
        (["--", "/etc/passwd"], 126, "/etc/passwd can't be started: it may not be executed"),
        (["--port-file", "/no/such/folder/port", "--", "true"], 125, "there is no directory /no/such/folder"),
        (["--port-file", "/", "--", "true"], 125, "'/' is no regular file"),
        (["--port-file", "/dev/null", "--", "true"], 125, "'/dev/null' is no regular file"),
        (
            ["--detach", "--log", "/no/such/folder/log", "--", "true"],
            125,
            "the log /no/such/folder/log can't be written",
        ),
        (["--prot", "80", "--", "true"], 125, "unrecognized arguments: --prot"),
    ],
)
def test_bad_input_is_one_line_and_a_hint(words: list[str], status: int, message: str) -> None:
    """Before anything is started."""
    done = run(*words)
    assert_refused(done, status, message)


def test_a_label_that_nobody_may_see_is_a_warning() -> None:
    """The program may read the variable, which can't be seen; so it runs."""
    done = run("--as", "web", "--", "echo", "{prot}")
    assert (done.returncode, done.stdout) == (0, "{prot}\n")
    assert done.stderr == (
        "anyport: warning: no argument has {web}; whether the program reads WEB_PORT can't be seen\n"
    )
    assert run("--as", "web", "--", "sh", "-c", ": $WEB_PORT").stderr == ""


def test_a_label_that_is_part_of_a_name_need_not_be_seen() -> None:
    """`--here --as api` is one port, and PORT says which; with two labels PORT is the first one's."""
    done = run("--here", "--as", "api", "--", "sh", "-c", "echo $PORT")
    assert done.stdout.strip().isdecimal()
    assert done.stderr == ""
    assert "no argument has {db}" in run("--here", "--as", "web", "--as", "db", "--", "echo", "{web}").stderr


def test_a_port_that_can_not_be_named_is_a_warning() -> None:
    """But in a row: there the program counts on from the first."""
    assert "can be told the first of 2 ports only\nhint: give each a label" in run("-n", "2", "--", "true").stderr
    assert run("-n", "2", "--contiguous", "--", "true").stderr == ""


def test_verbose_says_that_the_program_never_listened() -> None:
    """When it ended well, so that nothing else is said."""
    assert "the program ended with status 0 and never listened on " in run("-v", "--", "true").stderr


def test_no_unused_port_is_the_runners_own_failure() -> None:
    """125, with who has it."""
    with listening("::", 20123):
        done = run("--port", "20123", "--only", "--", "true")
    assert done.returncode == 125
    assert re.match(r"anyport: 20123/tcp is in use: \S+ \(pid \d+, \w+\) listens on ::\n", done.stderr)


def test_a_script_without_an_interpreter_runs_as_in_a_shell(tmp_path: Path) -> None:
    """By /bin/sh, as execvp(3) has it; one whose interpreter is missing is not found."""
    path = tmp_path / "program"
    path.write_text('echo "$0 $1"\n')
    path.chmod(0o755)
    assert run("--", str(path), "one").stdout == f"{path} one\n"
    path.write_text("#!/no/such/interpreter\n")
    done = run("--", str(path))
    assert done.returncode == 127
    assert "the interpreter that it names is not there" in done.stderr


def test_the_program_is_found_in_the_path_that_it_gets(tmp_path: Path) -> None:
    """--env PATH=... counts, as for env."""
    path = tmp_path / "only-here"
    path.write_text("#!/bin/sh\necho found\n")
    path.chmod(0o755)
    assert run("--env", f"PATH={tmp_path}", "--", "only-here").stdout == "found\n"


def test_help_is_there() -> None:
    """With its own options; what is not for people is not shown."""
    shown = run("--help").stdout
    assert "--hand-over MODE" in shown
    assert "from-library" not in shown


def test_the_form_without_options_means_what_the_parser_would_say() -> None:
    """It does without argparse, and must not do without a default of the selection."""
    _, selection, command = run_options.read(["-n", "1", "--", "true"], DEFAULTS)
    assert command == ["true"]
    assert selection
    plain = vars(Selection())
    assert {name: value for name, value in vars(selection).items() if name != "exclude"} == {
        name: value for name, value in plain.items() if name != "exclude"
    }


LATE_DAEMON = program("late_daemon.py")


@pytest.mark.parametrize("words", [[], ["--port-file", "{file}"]])
def test_a_daemon_that_listens_after_the_program_has_ended(words: list[str], tmp_path: Path) -> None:
    """As `redis-server --daemonize yes` does: the port stays held for it, and a port file tells when it is ready."""
    file = tmp_path / "port"
    words = [word.format(file=file) for word in words]
    done = run("--port", "20123", "--only", *words, "--", *script(tmp_path, LATE_DAEMON), "{port}")
    assert (done.returncode, done.stderr) == (0, "")
    assert file.exists() is bool(words)
    assert "BOUND" in [row.state for row in sock_diag.sockets("tcp", 20123)]
    assert any("LISTEN" in [row.state for row in sock_diag.sockets("tcp", 20123)] for _ in pauses(60))
    with socket.create_connection(("127.0.0.1", 20123)) as client:
        pid = int(client.recv(20))
    os.kill(pid, signal.SIGKILL)
    assert any(not is_in_use(20123) for _ in pauses(60))


def test_a_caller_that_is_gone_leaves_no_daemon_behind(tmp_path: Path) -> None:
    """Nobody would learn its port: what `--detach` started is ended when the one who waits for it is killed."""
    process = start("--detach", "--", *script(tmp_path, LATE_DAEMON.replace("0.4", "20")), "{port}")
    assert any(len(proc.descendants(process.pid)) >= 1 for _ in pauses(60))
    assert any(runners() or proc.descendants(process.pid) for _ in pauses(60))
    process.kill()
    process.communicate()
    assert any(not runners() for _ in pauses(60))


def test_a_port_file_that_can_not_be_written_stops_the_program(server: list[str], tmp_path: Path) -> None:
    """And nothing of it is left."""
    folder = tmp_path / "folder"
    folder.mkdir()
    process = start(
        "--port-file", str(folder / "port"), "--", "sh", "-c", f'rmdir {folder}; exec "$@"', "sh", *server, "reuse"
    )
    assert "the port file" in process.communicate(timeout=60)[1]
    assert process.returncode == 125
    assert list(tmp_path.glob("*.tmp")) == []


def test_a_start_in_the_background_ends_with_the_caller_who_waits_for_it(tmp_path: Path) -> None:
    """Killed before the program was ready: nobody knows its port, and nobody will end it."""
    started = tmp_path / "pid"
    command = ["sh", "-c", f"echo $$ > {started}.part; mv {started}.part {started}; exec sleep 1000"]
    with subprocess.Popen([COMMAND, "run", "--detach", "--ready-timeout", "10m", "--", *command]) as caller:
        assert any(started.exists() for _ in pauses(60))
        caller.kill()
    pid = int(started.read_text())
    try:
        assert any((found := proc.stat(pid)) is None or found.has_ended for _ in pauses(60))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
