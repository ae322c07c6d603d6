"""What tests of the pytest plugin share: suites within a test, run by a pytest of their own."""

import textwrap
from pathlib import Path

import pytest

from helpers.running import SERVER
from helpers.support import program

OTHERS = ("asyncio", "anyio", "randomly", "timeout", "hypothesispytest")  # plugins that a suite is to do without


def write_suite(pytester: pytest.Pytester, test: str, **more: str) -> None:
    """A suite of one file, and others by their names.

    For each: a server that answers each connection with its pid, who asks it, and a stranger who wants its port.
    """
    files = {"test_it": test, **more}
    for name, text in files.items():
        path = pytester.path / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("from suite import *\n" + textwrap.dedent(text))
    (pytester.path / "suite.py").write_text(program("suite.py"))
    (pytester.path / "server.py").write_text(SERVER)


def run_suite(pytester: pytest.Pytester, *words: str, without: tuple[str, ...] = OTHERS) -> pytest.RunResult:
    """In a process of its own; a warning is an error."""
    without = tuple(word for name in without for word in ("-p", f"no:{name}"))
    return pytester.runpytest_subprocess("-W", "error", "-rA", "--tb=short", *without, *words)


def passes(pytester: pytest.Pytester, test: str, *words: str, **more: str) -> pytest.RunResult:
    """The suite is written, run, and every test in it passes."""
    write_suite(pytester, test, **more)
    result = run_suite(pytester, *words)
    outcomes = result.parseoutcomes()
    assert set(outcomes) == {"passed"}, result.stdout.str()
    assert result.errlines == []
    return result


def section(result: pytest.RunResult, test: str) -> list[str]:
    """The lines that the report of a failed test has under the titles of programs' output."""
    lines = iter(result.outlines)
    assert any(line.startswith("___") and line.strip("_ ").endswith(test) for line in lines), result.stdout.str()
    found: list[str] = []
    is_output = False
    for line in lines:
        if line.startswith(("___", "===")):
            break
        if line.startswith("-") and " Captured " in line:
            is_output = " Captured output of " in line
        elif is_output:
            found.append(line)
    return found


def numbers_in(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().split()]
