"""The library's `run`: a program on a held port, as an object."""

import asyncio
import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import anyport
from anyport._clock import pauses
from anyport._linux import proc
from helpers.running import SERVER, is_in_use, script
from helpers.sandboxes import within
from helpers.support import listening, python

SLEEP = ["sleep", "60"]


def answer(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        return client.recv(100)


def is_alive(pid: int) -> bool:
    found = proc.stat(pid)
    return found is not None and found.state != "Z"


def test_it_returns_when_the_program_listens_and_stops_it_in_the_end(server: list[str]) -> None:
    """The very program answers; after the block it is gone, and its port is nobody's."""
    with anyport.run([*server, "reuse"]) as running:
        assert running.hand_over == "supervised"
        assert running.returncode is None
        assert answer(running.port) == b"%d" % running.pid
        assert running.ports == [running.port]
    assert running.returncode == 0
    assert running.wait() == 0
    running.terminate()
    assert not is_in_use(running.port)


def test_a_server_without_reuseaddr_is_supervised(server: list[str], recwarn: pytest.WarningsRecorder) -> None:
    """It is started once, and nothing is said."""
    with anyport.run(server) as running:
        assert running.hand_over == "supervised"
        assert answer(running.port) == b"%d" % running.pid
    assert [str(each.message) for each in recwarn] == []


ELSEWHERE = """
import sys
sys.path.append(sys.argv[1])
import anyport
with anyport.run(sys.argv[2:]) as running:
    print(running.hand_over)
"""


def test_the_runner_finds_the_package_where_its_caller_did(server: list[str]) -> None:
    """Also if only the caller's own sys.path leads there: by an interpreter that has none installed."""
    packages, interpreter = Path(anyport.__file__).parent.parent, os.path.realpath(sys.executable)
    command = [interpreter, "-I", "-c", ELSEWHERE, str(packages), *server, "reuse"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "supervised\n"), done.stderr


HAND_OVER = """
import anyport, subprocess, sys
with anyport.run(sys.argv[2:], hand_over=sys.argv[1], stderr=subprocess.DEVNULL) as running:
    print(running.hand_over)
"""


def unsupervised(*words: str) -> "subprocess.CompletedProcess[str]":
    """The library where it can't have a program supervised."""
    command = within("no-seccomp", sys.executable, "-W", "error", "-c", HAND_OVER, *words)
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_where_a_server_can_not_be_supervised_it_is_shared_or_released(server: list[str]) -> None:
    """Shared, and one without SO_REUSEADDR released; which of them it is can be asked."""
    for words, hand_over in (([*server, "reuse"], "shared"), (server, "released")):
        done = unsupervised("auto", *words)
        assert (done.returncode, done.stdout) == (0, f"{hand_over}\n"), done.stderr


def test_what_was_asked_for_and_can_not_be_is_an_error(server: list[str]) -> None:
    """The class of its own, and the cause."""
    done = unsupervised("supervised", *server)
    assert (done.returncode, done.stdout) == (1, "")
    last = [line for line in done.stderr.splitlines() if "can't be supervised" in line][-1]
    assert last.startswith("anyport.errors.HandOverUnavailable: the program can't be supervised: ")


def test_words_variables_and_streams_reach_the_program(tmp_path: Path) -> None:
    """As for find_many; cwd, env and the streams as for Popen."""
    code = """
    import os, socket, sys
    first = socket.create_server(("127.0.0.1", int(os.environ["WEB_PORT"])))
    second = socket.create_server(("127.0.0.1", int(sys.argv[1])))
    print(os.getcwd(), os.environ["URL"], os.environ["KEPT"], flush=True)
    sys.stdin.read()
    sys.exit(3)
    """
    reading, writing = os.pipe()
    with (
        open(reading) as output,
        anyport.run(
            [*script(tmp_path, code), "{db}"], as_=["web", "db"], in_=range(7002, 7012), exclude=[7003, 7004],
            host="127.0.0.1", variables={"URL": "{host}:{db}"}, cwd=tmp_path, env={**os.environ, "KEPT": "yes"},
            stdin=subprocess.PIPE, stdout=writing,
        ) as running,
    ):  # fmt: skip
        os.close(writing)
        assert output.readline() == f"{tmp_path} 127.0.0.1:{running.ports[1]} yes\n"
        assert set(running.ports) < set(range(7002, 7012)) - {7003, 7004}
        with pytest.raises(subprocess.TimeoutExpired):
            running.wait(0.01)
        assert running.stdin
        running.stdin.close()
        assert running.wait(60) == 3


@pytest.mark.parametrize("whose", ["the program's", "the caller's"])
def test_what_python_reads_of_the_environment_is_the_programs(
    whose: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runner is isolated from it: a wrong PYTHONHOME, or a module that takes another's place, kills it not."""
    (wrong := tmp_path / "wrong").mkdir()
    for name in ("os", "json", "signal", "fcntl", "argparse"):
        (wrong / f"{name}.py").write_text("raise SystemExit('the wrong module')\n")
    poison = {"PYTHONHOME": "/nowhere", "PYTHONPATH": str(wrong)}
    shell = 'echo "$PYTHONHOME $PYTHONPATH"; exec env -u PYTHONHOME -u PYTHONPATH "$@"'
    command = ["sh", "-c", shell, "sh", *script(tmp_path, SERVER), "{port}"]
    env = None
    if whose == "the caller's":
        for name, value in poison.items():
            monkeypatch.setenv(name, value)
    else:
        env = {**os.environ, **poison}
    with anyport.run(command, env=env, stdout=subprocess.PIPE) as running:
        assert running.stdout
        assert running.stdout.readline().decode() == f"/nowhere {wrong}\n"


def test_the_ledger_is_the_callers_and_an_environment_may_be_empty(tmp_path: Path, ledger: Path) -> None:
    """`env` is the program's alone: what says where the ledger lies is read from ours."""
    reading, writing = os.pipe()
    command = [*script(tmp_path, f"import os; print(sorted(os.environ), flush=True)\n{SERVER}"), "{port}"]
    with open(reading) as output, anyport.run(command, env={}, stdout=writing) as running:
        os.close(writing)
        assert "'PORT'" in output.readline()
        assert ledger.exists()
        assert running.hand_over == "supervised"


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        ({"variables": {"A=B": "c"}}, "A=B"), ({"variables": {"A": "\0"}}, "no value"),
        ({"env": {"A\0": "c"}}, "no name"), ({"env": {b"A": "c"}}, "b'A'"),
        ({"map_": itertools.repeat(80)}, "65535"), ({"host": 1}, "1"),
        ({"in_": range(10**9)}, "out of range"), ({"exclude": itertools.count(1)}, "65535"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_told_before_anything_is_started(options: dict[str, object], seen: str) -> None:
    """With a name for what is wrong, and no end of nothing is waited for."""
    with pytest.raises(anyport.InvalidSelection) as error:
        anyport.run(SLEEP, **options)  # type: ignore[arg-type]
    assert seen in str(error.value)


@pytest.mark.parametrize("command", ["redis-server", b"sh", itertools.repeat("sh"), 5, ["sh", 5], ["a\0b"]])
def test_a_command_is_a_list_of_texts(command: object) -> None:
    """One that has no length is none: it might have no end."""
    with pytest.raises(anyport.InvalidSelection, match="no list of a program"):
        anyport.run(command)  # type: ignore[arg-type]


def test_what_can_not_be_had_is_an_error_before_anything_is_started() -> None:
    """The classes that the command has exit statuses for."""
    with pytest.raises(anyport.ProgramNotFound, match="it is not in PATH"):
        anyport.run(["no-such-program"])
    with pytest.raises(anyport.ProgramNotExecutable, match="it is a directory"):
        anyport.run(["/etc"])
    with pytest.raises(FileNotFoundError):
        anyport.run(["no-such-program"], cwd="/")
    with pytest.raises(anyport.InvalidSelection, match="is no hand-over"):
        anyport.run(SLEEP, hand_over="magic")
    with pytest.raises(anyport.InvalidSelection, match="there is no command"):
        anyport.run([])
    for command in ("sleep 60", ["sleep", "\0"]):
        with pytest.raises(anyport.InvalidSelection, match="is no list of a program and its arguments"):
            anyport.run(command)
    with pytest.raises(TypeError, match="prot"):
        anyport.run(SLEEP, prot=80)  # type: ignore[call-arg]


def test_a_port_that_is_used_carries_its_refusals() -> None:
    """The same error as in process."""
    with listening("::", 20123), pytest.raises(anyport.NoUnusedPort) as caught:
        anyport.run(SLEEP, port=20123, only=True)
    assert caught.value.refusals[0].occupants[0].processes[0].pid == os.getpid()


def test_a_program_that_never_listens_is_an_error() -> None:
    """It ended, or was stopped in time."""
    with pytest.raises(anyport.NotReady, match="ended with status 3") as ended:
        anyport.run(["sh", "-c", "exit 3"])
    assert ended.value.status == 3
    with pytest.raises(anyport.NotReady, match="was stopped: not listening on") as late:
        anyport.run(SLEEP, ready_timeout=0.3)
    assert late.value.status is None
    with pytest.raises(TimeoutError):
        anyport.run(["sh", "-c", "kill -9 $$"])


def test_the_status_is_the_programs(server: list[str]) -> None:
    """Negative for a signal."""
    with anyport.run([*server, "reuse"]) as running:
        os.kill(running.pid, signal.SIGKILL)
        assert running.wait(60) == -signal.SIGKILL


def test_it_works_from_threads_and_from_asyncio(server: list[str]) -> None:
    """Several at once, on different ports."""
    found: list[anyport.Running] = []
    threads = [threading.Thread(target=lambda: found.append(anyport.run([*server, "reuse"]))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    async def several() -> list[anyport.Running]:
        return await asyncio.gather(*(asyncio.to_thread(anyport.run, [*server, "reuse"]) for _ in range(2)))

    found += asyncio.run(several())
    try:
        assert len({each.port for each in found}) == 5
        assert all(answer(each.port) == b"%d" % each.pid for each in found)  # the threads that started them are gone
    finally:
        for each in found:
            with each:
                pass


def test_a_fork_of_the_caller_ends_nothing(server: list[str]) -> None:
    """The program is the parent's."""
    with anyport.run([*server, "reuse"]) as running:
        pid = os.fork()
        if not pid:
            try:
                with running:
                    running.terminate()
            finally:
                os._exit(running.returncode is not None)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert answer(running.port) == b"%d" % running.pid


CALLER = """
import anyport, os, signal, sys, time
from subprocess import DEVNULL
running = anyport.run(sys.argv[2:], detach=sys.argv[1] == "detach", stdout=DEVNULL, stderr=DEVNULL)
print(running.pid, running.port, os.getppid(), flush=True)
if os.fork() == 0:  # a child that keeps every descriptor, as multiprocessing's do
    os.closerange(1, 3)
    time.sleep(60)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_program_ends_when_its_caller_dies(server: list[str]) -> None:
    """By SIGKILL, and with a forked child that lives on."""
    done = python(CALLER, "stay", *server, "reuse")
    assert done.returncode == -signal.SIGKILL
    pid, port, _ = map(int, done.stdout.split())
    try:
        assert any(not is_alive(pid) for _ in pauses(60))
        assert any(not is_in_use(port) for _ in pauses(60))
    finally:
        subprocess.run(["pkill", "-f", "a child that keeps every descriptor"], check=False)


def test_a_detached_program_outlives_its_caller(server: list[str]) -> None:
    """And goes on answering."""
    done = python(CALLER, "detach", *server, "reuse")
    pid, port, _ = map(int, done.stdout.split())
    try:
        assert answer(port) == b"%d" % pid
    finally:
        subprocess.run(["pkill", "-f", "a child that keeps every descriptor"], check=False)
        os.kill(pid, signal.SIGTERM)
    assert any(not is_in_use(port) for _ in pauses(60))


def test_a_killed_runner_is_no_ready_program(tmp_path: Path) -> None:
    """The program gets SIGTERM, and the caller an error."""
    code = "import os, signal; os.kill(os.getppid(), signal.SIGKILL); signal.pause()"
    with pytest.raises(anyport.NotReady, match="the runner of the program was killed"):
        anyport.run(script(tmp_path, code))


def test_it_is_told_whatever_the_folder_holds(tmp_path: Path, server: list[str]) -> None:
    """A module of the current folder must not take the place of one of Python's."""
    for name in ("argparse", "json"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('wrong')")
    with anyport.run([*server, "reuse"], cwd=tmp_path) as running:
        assert answer(running.port)


def test_the_program_has_nothing_of_the_library_open(tmp_path: Path) -> None:
    """Standard streams, and its own socket."""
    code = """
    import os, socket, sys
    server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
    links = sorted(os.readlink(f"/proc/self/fd/{fd}").split(":")[0] for fd in map(int, os.listdir("/proc/self/fd"))
                   if fd > 2 and os.path.exists(f"/proc/self/fd/{fd}"))
    server.accept()[0].sendall(repr(links).encode())
    """
    with anyport.run([*script(tmp_path, code), "{port}"]) as running:
        assert answer(running.port) == b"['socket']"


def test_running_says_what_it_is(server: list[str]) -> None:
    """For whoever looks at it in a debugger."""
    with anyport.run([*server, "reuse"]) as running:
        assert repr(running) == f"<Running pid {running.pid} on {running.port}>"
    assert sys.executable


def test_a_stopped_program_does_not_hang_the_block(server: list[str]) -> None:
    """Its runner is not stopped with it: there is no shell that would continue both."""
    with anyport.run([*server, "reuse"]) as running:
        os.kill(running.pid, signal.SIGSTOP)
        assert any((found := proc.stat(running.pid)) and found.state == "T" for _ in pauses(60))
    assert running.returncode == 0


def test_a_detached_program_has_a_session_of_its_own(server: list[str]) -> None:
    """So that neither Ctrl-C nor the end of the terminal reaches it."""
    with anyport.run([*server, "reuse"], detach=True) as running:
        assert os.getsid(running.pid) != os.getsid(0)
