"""The plugin's fixtures for holds and programs: what they keep, how long, and how they end it."""

import os
from textwrap import dedent

import pytest

from anyport._clock import pauses
from anyport._linux import proc
from helpers.running import is_in_use
from helpers.suites import numbers_in, passes, run_suite, write_suite
from helpers.support import bound, needs


def test_a_held_port_is_kept_as_long_as_the_test_runs(pytester: pytest.Pytester) -> None:
    """No stranger has it without SO_REUSEADDR, a server with it does; exclusive, nobody; afterwards anybody."""
    test = """
    def test_it(held_port, held_port_factory):
        assert isinstance(held_port, anyport.Hold)
        assert not can_be_bound(held_port.port)
        assert can_be_bound(held_port.port, reuse=True)
        exclusive = held_port_factory(in_="20001-20009", exclusive=True)
        assert 20001 <= exclusive.port <= 20009 and not can_be_bound(exclusive.port, reuse=True)
        udp = held_port_factory(udp=True)
        assert not can_be_bound(udp.port, kind=socket.SOCK_DGRAM)
        released = held_port_factory()
        released.release()
        Path("ports").write_text(f"{held_port.port} {exclusive.port} {udp.port}")

    def test_afterwards():
        held, exclusive, udp = map(int, Path("ports").read_text().split())
        assert can_be_bound(held) and can_be_bound(exclusive) and can_be_bound(udp, kind=socket.SOCK_DGRAM)
    """
    passes(pytester, test)


@pytest.mark.parametrize("way", ["-s", "-n2"])
def test_a_real_server_runs_until_the_test_ends(pytester: pytest.Pytester, way: str) -> None:
    """redis-server is ready when it is given, and is the one that answers; nobody has its port afterwards."""
    needs("redis-server")
    test = """
    def test_it(run_on_port):
        running = run_on_port(["redis-server", "--port", "{port}", "--save", ""])
        assert isinstance(running, anyport.Running)
        with socket.create_connection(("127.0.0.1", running.port), timeout=60) as client:
            client.sendall(b"PING\\r\\nINFO server\\r\\n")
            lines = client.makefile()
            assert next(lines) == "+PONG\\n"
            assert f"process_id:{running.pid}\\n" in (next(lines) for _ in range(20))
        assert not can_be_bound(running.port, reuse=True)
        Path("ports").write_text(str(running.port))
    """
    passes(pytester, test, way)
    (port,) = numbers_in(pytester.path / "ports")
    assert not is_in_use(port)
    bound("::", port).close()


@pytest.mark.parametrize("before", ["", "trap '' TERM; ", "exec setsid -f "])
def test_what_a_program_started_ends_with_it(pytester: pytest.Pytester, before: str) -> None:
    """A server behind a shell, which does not pass SIGTERM on; one that ignores it; a daemon."""
    test = f"""
    from anyport._testing import tree
    tree._GRACE = 0.3  # seconds, instead of ten

    def test_it(run_on_port):
        behind = ["sh", "-c", {before!r} + '"$@"; true', "sh", *SERVER]
        running = run_on_port(["sh", "-c", '"$@" & while :; do wait; read _ <pipe; done', "sh", *behind])
        pid = int(answer(running.port))
        assert pid != running.pid
        Path("ports").write_text(f"{{pid}} {{running.port}}")

    def test_afterwards():
        pid, port = map(int, Path("ports").read_text().split())
        assert can_be_bound(port, reuse=True)
        assert not Path(f"/proc/{{pid}}/status").exists() or "(zombie)" in Path(f"/proc/{{pid}}/status").read_text()
    """
    os.mkfifo(pytester.path / "pipe")
    passes(pytester, test)


def test_a_program_that_ends_its_whole_group_does_not_end_pytest(pytester: pytest.Pytester) -> None:
    """As scripts do with `trap "kill 0" EXIT`, and newer ncats."""
    test = """
    CODE = '''
    import os, signal, socket, sys
    signal.signal(signal.SIGTERM, lambda *_: (signal.signal(signal.SIGTERM, signal.SIG_DFL), os.killpg(0, 15)))
    server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
    server.accept()
    '''

    def test_one(run_on_port):
        running = run_on_port([sys.executable, "-c", CODE, "{port}"])
        if os.getpgid(running.pid) == os.getpgid(0):
            os.kill(running.pid, 9)  # else those who run this test would end too
            pytest.fail("it is in our group")

    def test_another(run_on_port):
        running = run_on_port([sys.executable, "-c", CODE, "{port}"], process_group=None)
        assert os.getpgid(running.pid) == os.getpgid(0)
        os.kill(running.pid, 9)
    """
    passes(pytester, test)


def test_it_takes_the_words_of_run(pytester: pytest.Pytester) -> None:
    """Labels, numbers, variables, a mapped number and streams; standard input is /dev/null unless given."""
    test = """
    CODE = '''
    import os, socket, sys
    server = socket.create_server(("127.0.0.1", int(os.environ["NUMBER"])))
    print(os.readlink("/proc/self/fd/0"), sys.stdin.read(), flush=True)
    server.accept()
    '''
    PROGRAM = [sys.executable, "-c", CODE]

    def test_one(run_on_port):
        running = run_on_port(PROGRAM, port=20123, variables={"NUMBER": "{port}"}, stdout=subprocess.PIPE)
        assert running.port == 20123
        assert running.stdout.readline() == b"/dev/null \\n"

    def test_another(run_on_port):
        with open("input", "w+") as input:
            running = run_on_port(PROGRAM, env={**os.environ, "NUMBER": "8080"}, map_=8080, stdin=input)
        socket.create_connection(("127.0.0.1", running.port)).close()

    def test_several(run_on_port):
        code = "import socket, sys; s = [socket.create_server(('', int(p))) for p in sys.argv[1:]]; s[1].accept()"
        web, db = run_on_port([sys.executable, "-c", code, "{web}", "{db}"], as_=["web", "db"]).ports
        socket.create_connection(("127.0.0.1", db)).close()
        assert not can_be_bound(web)
    """
    passes(pytester, test, "-s")  # else pytest's own standard input is /dev/null


WIDER = """
@pytest.fixture(scope="SCOPE")
def port(SCOPE_held_port_factory, SCOPE_run_on_port):
    held, running = SCOPE_held_port_factory(), SCOPE_run_on_port(SERVER)
    with open("started", "a") as started:
        print(held.port, running.port, file=started)
    return running.port
"""
USERS = """
class TestOne:
    def test_first(self, port):
        assert answer(port)
    def test_second(self, port):
        assert answer(port)

class TestTwo:
    def test_third(self, port):
        assert answer(port)
"""
AFTER = """
def test_after():
    for line in Path("started").read_text().splitlines():
        held, running = map(int, line.split())
        assert can_be_bound(held) == ("SCOPE" != "session")
        if "SCOPE" == "session":
            assert answer(running)
        else:
            with pytest.raises(ConnectionRefusedError):
                answer(running)
"""


@pytest.mark.parametrize(("scope", "starts"), [("class", 4), ("module", 2), ("session", 1)])
def test_wider_scopes_end_when_they_end(pytester: pytest.Pytester, scope: str, starts: int) -> None:
    """One hold and one program for all the tests of a class, module or session; then they are gone."""
    files = {"test_one": USERS, "test_two": USERS, "test_z": AFTER.replace("SCOPE", scope)}
    result = passes(pytester, "", conftest=WIDER.replace("SCOPE", scope), **files)
    result.assert_outcomes(passed=7)
    ports = numbers_in(pytester.path / "started")
    assert len(set(ports)) == 2 * starts
    assert not any(map(is_in_use, ports))


IN_ORDER = """
LEAVES_WORD = '''
import signal, socket, sys
def stop(*_):
    print(sys.argv[2], file=open("stopped", "a"))
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
signal.pause()
'''

def start(run_on_port, name):
    return run_on_port([sys.executable, "-c", LEAVES_WORD, "{port}", name])
"""


def test_the_last_started_is_stopped_first(pytester: pytest.Pytester) -> None:
    """So that a program that needs another one does not lose it; one that was stopped in the test is left alone."""
    test = """
    def test_it(run_on_port):
        for name in ("database", "queue"):
            start(run_on_port, name)
        with start(run_on_port, "short"):
            pass
        start(run_on_port, "web")
    """
    passes(pytester, IN_ORDER + dedent(test))
    assert (pytester.path / "stopped").read_text().split() == ["short", "web", "queue", "database"]


def test_when_one_cant_be_stopped_the_others_are(pytester: pytest.Pytester) -> None:
    """The error is that of the test's teardown."""
    test = """
    def test_it(run_on_port):
        start(run_on_port, "first")
        broken = start(run_on_port, "broken")
        def fail(*_):
            raise OSError("the system call that waits for it failed")
        broken._runner.wait = fail
        start(run_on_port, "last")
    """
    write_suite(pytester, IN_ORDER + dedent(test))
    result = run_suite(
        pytester, "-W", "ignore::ResourceWarning", "-W", "ignore::pytest.PytestUnraisableExceptionWarning"
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines("E   OSError: the system call that waits for it failed")
    assert {"first", "last"} < set((pytester.path / "stopped").read_text().split())


def test_a_program_that_ignores_sigterm_is_killed(pytester: pytest.Pytester) -> None:
    """After ten seconds, of which this test waits for a fifth of one."""
    test = """
    from anyport._run import run
    run._GRACE = 0.2
    DEAF = '''
    import signal, socket, sys
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
    while True:
        signal.pause()
    '''

    def test_it(run_on_port):
        running = run_on_port([sys.executable, "-c", DEAF, "{port}"])
        Path("ports").write_text(f"{running.port} {running.pid}")
    """
    passes(pytester, test)
    port, pid = numbers_in(pytester.path / "ports")
    assert any(not is_in_use(port) for _ in pauses(60))
    assert (found := proc.stat(pid)) is None or found.state == "Z"
