"""The plugin's fixtures for holds and programs: what they keep, how long, and how they end it."""

import os
from textwrap import dedent

import pytest

from anyport._clock import pauses
from anyport._linux import proc
from helpers.running import is_in_use
from helpers.suites import numbers_in, passes, run_suite, write_suite
from helpers.support import bound, needs, program


def test_a_held_port_is_kept_as_long_as_the_test_runs(pytester: pytest.Pytester) -> None:
    """No stranger has it without SO_REUSEADDR, a server with it does; exclusive, nobody; afterwards anybody."""
    test = program("suite_held_ports.py")
    passes(pytester, test)


@pytest.mark.parametrize("way", ["-s", "-n2"])
def test_a_real_server_runs_until_the_test_ends(pytester: pytest.Pytester, way: str) -> None:
    """redis-server is ready when it is given, and is the one that answers; nobody has its port afterwards."""
    needs("redis-server")
    test = program("suite_real_server.py")
    passes(pytester, test, way)
    (port,) = numbers_in(pytester.path / "ports")
    assert not is_in_use(port)
    bound("::", port).close()


@pytest.mark.parametrize("before", ["", "trap '' TERM; ", "exec setsid -f "])
def test_what_a_program_started_ends_with_it(pytester: pytest.Pytester, before: str) -> None:
    """A server behind a shell, which does not pass SIGTERM on; one that ignores it; a daemon."""
    (pytester.path / "before").write_text(before)
    os.mkfifo(pytester.path / "pipe")
    passes(pytester, program("suite_behind_a_shell.py"))


def test_a_program_that_ends_its_whole_group_does_not_end_pytest(pytester: pytest.Pytester) -> None:
    """As scripts do with `trap "kill 0" EXIT`, and newer ncats."""
    test = program("suite_ends_its_group.py")
    passes(pytester, test)


def test_it_takes_the_words_of_run(pytester: pytest.Pytester) -> None:
    """Labels, numbers, variables, a mapped number and streams; standard input is /dev/null unless given."""
    test = program("suite_words_of_run.py")
    passes(pytester, test, "-s")  # else pytest's own standard input is /dev/null


WIDER = """
@pytest.fixture(scope="SCOPE")
def port(SCOPE_held_port_factory, SCOPE_run_on_port):
    held, running = SCOPE_held_port_factory(), SCOPE_run_on_port(SERVER)
    with open("started", "a") as started:
        print(held.port, running.port, file=started)
    return running.port
"""
USERS = program("suite_users.py")
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


IN_ORDER = program("suite_in_order.py")


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
    test = program("suite_deaf.py")
    passes(pytester, test)
    port, pid = numbers_in(pytester.path / "ports")
    assert any(not is_in_use(port) for _ in pauses(60))
    assert (found := proc.stat(pid)) is None or found.state == "Z"
