"""The plugin's fixtures for numbers: which numbers, to whom, and beside which other plugins."""

import subprocess
import sys

import pytest

from helpers.suites import OTHERS, numbers_in, passes, run_suite, write_suite
from helpers.support import listening, program


@pytest.mark.slow
def test_unused_ports_are_numbers_that_can_be_bound(pytester: pytest.Pytester) -> None:
    """One, as many others as are wanted, with the words of find, in any scope; with and without xdist and capturing."""
    test = program("suite_numbers.py")
    passes(pytester, test, "-s", "-p", "no:xdist")
    passes(pytester, test, "-n2")


def test_udp_ports_are_unused_for_udp(pytester: pytest.Pytester) -> None:
    """Whatever TCP has on the number."""
    test = """
    def test_udp(unused_udp_port, unused_udp_port_factory, unused_port_factory):
        assert unused_udp_port_factory() != unused_udp_port
        assert can_be_bound(unused_udp_port, kind=socket.SOCK_DGRAM)
        with socket.create_server(("127.0.0.1", 20123)):
            assert unused_udp_port_factory(20123, only=True) == 20123
            assert unused_udp_port_factory(20123, udp=False) != 20123
            with pytest.raises(anyport.NoUnusedPort):
                unused_port_factory(20123, only=True)
    """
    passes(pytester, test)


def test_an_error_shows_the_tests_own_line(pytester: pytest.Pytester) -> None:
    """With the hint, and nothing of the library's inside."""
    write_suite(pytester, "def test_it(unused_port_factory):\n    unused_port_factory(20123, only=True)\n")
    with listening("127.0.0.1", 20123):
        result = run_suite(pytester)
    result.assert_outcomes(failed=1)
    begin = next(number for number, line in enumerate(result.outlines) if line.endswith(": in test_it"))
    where, line, error, hint, after = result.outlines[begin : begin + 5]
    assert where.startswith("test_it.py:")
    assert line == "    unused_port_factory(20123, only=True)"
    assert error.startswith("E   anyport.errors.NoUnusedPort: 20123/tcp is in use: ")
    assert hint == "E   hint: leave --only out to get another one"
    assert after.startswith("===")


NUMBERS = """
@pytest.mark.parametrize("number", range(COUNT))
def test_it(unused_port_factory, number):
    with open("ports", "a") as ports:
        print(unused_port_factory(in_="20001-20040"), file=ports)
"""


@pytest.mark.slow
def test_workers_get_distinct_ports(pytester: pytest.Pytester) -> None:
    """Forty numbers, and forty tests in four workers: each number once."""
    passes(pytester, NUMBERS.replace("COUNT", "40"), "-n4")
    assert sorted(numbers_in(pytester.path / "ports")) == list(range(20001, 20041))


@pytest.mark.slow
def test_parallel_runs_get_distinct_ports(pytester: pytest.Pytester) -> None:
    """Two runs of one user that know nothing of each other; by the ledger."""
    write_suite(pytester, NUMBERS.replace("COUNT", "20"))
    command = [sys.executable, "-m", "pytest", "-q", "-n2", *(word for name in OTHERS for word in ("-p", f"no:{name}"))]
    runs = [subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) for _ in range(2)]
    outputs = [run.communicate(timeout=60)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], outputs
    assert sorted(numbers_in(pytester.path / "ports")) == list(range(20001, 20041))


def test_nothing_is_imported_until_a_fixture_is_used(pytester: pytest.Pytester) -> None:
    """The plugin's own file, and what pytest has anyway."""
    (pytester.path / "test_it.py").write_text(program("suite_loads_late.py"))
    run_suite(pytester).assert_outcomes(passed=2)


IMPORTED_FIRST = """
import sys
import anyport, pytest
sys.exit(pytest.main(["-q", "-W", "error", "-p", "no:asyncio", "-p", "no:anyio"]))
"""


@pytest.mark.slow
def test_it_does_not_matter_who_imported_the_package_before(pytester: pytest.Pytester) -> None:
    """Pytest warns of a plugin's package that was imported before it could rewrite its asserts, but not of this one."""
    write_suite(pytester, "def test_it(unused_port): pass")
    done = pytester.run(sys.executable, "-c", IMPORTED_FIRST)
    assert (done.ret, done.errlines) == (0, [])


def test_the_plugin_can_be_left_out(pytester: pytest.Pytester) -> None:
    """Then there are no such fixtures."""
    write_suite(pytester, "def test_it(unused_port, run_on_port): pass")
    result = run_suite(pytester, "-p", "no:anyport")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines("*fixture 'unused_port' not found")


def test_a_nearer_definition_wins(pytester: pytest.Pytester) -> None:
    """A conftest's factory is the one that unused_port asks."""
    conftest = """
    @pytest.fixture(scope="session")
    def unused_port_factory():
        return lambda **words: anyport.find(20123, only=True, host="127.0.0.1", **words)
    """
    passes(pytester, "def test_it(unused_port): assert unused_port == 20123", conftest=conftest)


def test_a_nearer_definition_may_ask_ours(pytester: pytest.Pytester) -> None:
    """Also for UDP, where a plugin's definition would keep ours away."""
    conftest = """
    @pytest.fixture
    def unused_udp_port(unused_udp_port_factory):
        return unused_udp_port_factory(20123, only=True)
    """
    passes(pytester, "def test_it(unused_udp_port): assert unused_udp_port == 20123", conftest=conftest)


ASYNCIO_INI = "[pytest]\nasyncio_default_fixture_loop_scope = function\n"


@pytest.mark.slow
def test_names_of_other_plugins_are_not_taken(pytester: pytest.Pytester) -> None:
    """pytest-asyncio's and anyio's are theirs, in whichever order the plugins are loaded."""
    write_suite(pytester, program("suite_three_plugins.py"))
    (pytester.path / "pytest.ini").write_text(ASYNCIO_INI)
    run_suite(pytester, without=("randomly",)).assert_outcomes(passed=3)
    for order in (
        ("anyport.pytest_plugin", "pytest_asyncio.plugin"),
        ("pytest_asyncio.plugin", "anyport.pytest_plugin"),
    ):
        words = [word for name in (*order, "anyio.pytest_plugin") for word in ("-p", name)]
        run_suite(pytester, "--disable-plugin-autoload", *words, without=()).assert_outcomes(passed=3)


def test_names_that_nobody_else_has_are_ours(pytester: pytest.Pytester) -> None:
    """Without pytest-asyncio the UDP fixtures are there, from a conftest's pytest_plugins too."""
    test = """
    def test_udp(unused_udp_port_factory, unused_udp_port):
        assert unused_udp_port_factory.__module__ == "anyport.pytest_plugin"
    """
    passes(pytester, test)
    passes(pytester, test, "--disable-plugin-autoload", conftest="pytest_plugins = ['anyport.pytest_plugin']")


def test_elsewhere_than_on_linux_the_fixtures_say_so(pytester: pytest.Pytester) -> None:
    """And nothing happens to whoever does not use them."""
    test = """
    def test_others():
        pass

    @pytest.mark.parametrize("name", ["unused_port", "held_port", "run_on_port", "unused_udp_port"])
    def test_ours(name, request, monkeypatch):
        monkeypatch.setattr(sys, "platform", "darwin")
        with pytest.raises(anyport.Unsupported, match="runs on Linux only so far, and this is darwin"):
            request.getfixturevalue(name)
    """
    passes(pytester, test)
