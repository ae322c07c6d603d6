"""Documents run: the commands in them give what they say, and the generated parts are not stale."""

import contextlib
import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from anyport._clock import pauses
from anyport._find.candidates import Offer
from anyport._linux import sock_diag
from anyport._linux.sysctl import PortSettings
from anyport._ports import BAD_PORTS, QUIET, SERVICES
from helpers.support import COMMAND, bound, listening, needs, private_network

ROOT = Path(__file__).parent.parent
HOWTO_PYTEST = ROOT / "docs" / "howto-pytest.md"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def console_blocks(page: Path) -> Iterator[str]:
    """Sessions of nothing but anyport: others need servers, and somebody who starts them."""
    for block in re.findall(r"^```console\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
        commands = re.findall(r"^\$ (.*)$", block, re.MULTILINE)
        if all(re.fullmatch(r"anyport(?: [\w,./-]+)*", command) for command in commands) and "ssh (pid" not in block:
            yield block


def alike(text: str) -> str:
    """Return the text with long numbers as N, the user as alice, and without what columns and paths may differ in."""
    text = re.sub(r" {2,}", "  ", re.sub(r"/\S*/(?=python)", "", re.sub(r"\d{2,}", "N", text)))
    return re.sub(r"(?<=:N  )\w+(?=  )", "alice", re.sub(r"\(pid N, \w+\)", "(pid N, alice)", text))


BLOCKS = [
    pytest.param(block, id=f"{page.name}-{number}")
    for page in PAGES
    for number, block in enumerate(console_blocks(page))
]


@pytest.mark.parametrize("block", BLOCKS)
def test_sessions_go_as_they_are_shown(block: str) -> None:
    """Run for real, with a server on 8080 where the session has one; numbers may differ, nothing else."""
    commands = re.findall(r"^\$ (.*)$", block, re.MULTILINE)
    with private_network(), server_on_8080(wanted="8080 is in use" in block), released(commands):
        shown = ""
        for command in commands:
            done = subprocess.run(
                [COMMAND, *command.split()[1:]],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            shown += f"$ {command}\n{done.stdout}"
    assert alike(shown) == alike(block)


@contextlib.contextmanager
def released(commands: list[str]) -> Iterator[None]:
    """End what the session holds, which would last as long as these tests."""
    yield
    if any(command.startswith("anyport hold") for command in commands):
        held = json.loads(subprocess.run([COMMAND, "who", "--json"], capture_output=True, check=True).stdout)
        for port in {each["port"] for each in held if any(one["name"] == "anyport-hold" for one in each["processes"])}:
            subprocess.run([COMMAND, "hold", "--release", str(port)], check=True)


class server_on_8080:  # noqa: N801 - used like a function
    """The http.server that the documents speak of."""

    def __init__(self, *, wanted: bool) -> None:
        self.wanted = wanted

    def __enter__(self) -> None:
        if not self.wanted:
            return
        python = Path(sys.executable).with_name("python3")
        command = [str(python), "-m", "http.server", "8080", "--bind", "127.0.0.1"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in pauses(60):
            if sock_diag.sockets("tcp", 8080):
                return
        pytest.fail("the server does not listen")

    def __exit__(self, *_error: object) -> None:
        if self.wanted:
            self.process.kill()
            self.process.wait()


def test_there_are_sessions_to_run() -> None:
    """README has four commands in one, and the tutorial several sessions."""
    assert len(BLOCKS) >= 7
    assert len(re.findall(r"^\$ anyport", next(console_blocks(ROOT / "README.md")), re.MULTILINE)) == 4


def test_the_generated_parts_are_fresh() -> None:
    """Help and API in the reference are those of the code."""
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "generate.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


FIXTURES = re.compile(r"^(\w+)(?: \[(\w+) scope\])? -- .*anyport/pytest_plugin.py", re.MULTILINE)


def test_the_table_of_fixtures_is_that_of_the_plugin(pytester: pytest.Pytester) -> None:
    """Their names and their scopes."""
    shown = pytester.runpytest_subprocess("--fixtures", "-p", "no:asyncio").stdout.str()
    listed = dict[str, str]()
    for names, scopes in re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| ([\w, ]+) \|", HOWTO_PYTEST.read_text(), re.MULTILINE):
        listed.update(zip(re.findall(r"\w+", names), re.findall(r"\w+", scopes), strict=True))
    assert listed == {name: scope or "test" for name, scope in FIXTURES.findall(shown)}


def test_the_tests_of_the_page_pass(pytester: pytest.Pytester) -> None:
    """Each block of Python is a file of tests, or a conftest beside one."""
    needs("redis-server")
    for number, block in enumerate(
        re.findall(r"^```python\n(.*?)^```", HOWTO_PYTEST.read_text(), re.DOTALL | re.MULTILINE)
    ):
        folder = pytester.mkdir(f"block{number}")
        (folder / ("conftest.py" if block.startswith("# conftest.py") else f"test_{number}.py")).write_text(block)
        if block.startswith("# conftest.py"):
            (folder / f"test_{number}.py").write_text(
                "def test_it(unused_port):\n    assert type(unused_port) is int\n"
            )
    result = pytester.runpytest_subprocess("-W", "error", "-p", "no:asyncio", "-p", "no:anyio", "-p", "no:randomly")
    result.assert_outcomes(passed=11)


def test_the_figures_about_the_quiet_range_are_true() -> None:
    """How many numbers it has, and how many are left out."""
    text = (ROOT / "docs" / "explanation.md").read_text()
    size = sum(map(Offer(PortSettings(32768, 60999, frozenset())).is_quiet, QUIET))
    assert f"{size:,} numbers remain" in text
    assert f"There are {size:,} numbers" in (ROOT / "docs" / "howto-own-port.md").read_text()
    assert f"{len(SERVICES)} well-known services" in text
    assert f"{len(BAD_PORTS)} numbers" in (ROOT / "docs" / "reference-command.md").read_text()


def documented(head: str) -> dict[str, list[str]]:
    """The fields in the table of the reference with this head, each with the rest of its row."""
    text = (ROOT / "docs" / "reference-command.md").read_text()
    rows = re.search(rf"^\| {re.escape(head)} \|.*\n\|[-|]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert rows
    fields: dict[str, list[str]] = {}
    for names, *rest in (re.split(r" *\| *", row)[1:-1] for row in rows[1].splitlines()):
        for at, name in enumerate(re.findall(r"`(\w+)`", names)):
            fields[name] = [rest[0].split("; ")[0].split(", ")[at], *rest] if "," in rest[0] else rest
    return fields


TYPES = {
    str: ("string", '`"tcp"` or `"udp"`'), int: ("integer", "number"), float: ("number",), bool: ("boolean",),
    list: ("list of objects",),
}  # fmt: skip


def test_the_schema_of_an_occupant_is_what_is_printed() -> None:
    """Just these fields, each of its type, and null only where that is said."""
    fields = documented("field | type")
    with listening("127.0.0.1", 20123) as server, socket.create_connection(server.getsockname()), bound("::", 20124):
        done = subprocess.run([COMMAND, "who", "--json"], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert {each["state"] for each in found} >= {"LISTEN", "ESTABLISHED", "BOUND"}
    for each in found:
        assert set(each) == set(fields)
        for name, value in each.items():
            said = " ".join(fields[name][:2])
            assert any(word in said for word in (["null"] if value is None else TYPES[type(value)])), (name, value)
        for process in each["processes"]:
            assert all(f"`{name}` (" in fields["processes"][1] for name in process)
            assert all(isinstance(word, str) for word in process["command"])


def test_the_fields_of_doctor_are_what_is_printed() -> None:
    """On both levels: each has a name in the table, and nothing is named that is not there."""
    fields = documented("field of `doctor`")
    found = json.loads(subprocess.run([COMMAND, "doctor", "--json"], capture_output=True, text=True, check=True).stdout)
    assert list(found) == list(fields)
    for name in ("system", "features", "ports", "uses", "ledger"):
        inner = found[name] if isinstance(found[name], dict) else found[name][0]
        assert set(inner) == set(re.findall(r"`(\w+)`", fields[name][-1])), name
    assert set(re.findall(r"`(\w+)`", fields["warnings"][-1])) == {"message", "hint"}


def test_links_lead_somewhere() -> None:
    """Within the project."""
    for page in [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_demo_does_the_main_job() -> None:
    """`make demo`'s script: every way of the question, then a real server that is fetched from and stopped."""
    with private_network():
        done = subprocess.run(
            [needs("sh"), ROOT / "docs" / "demo.sh"],
            env={"ANYPORT": COMMAND, "PYTHON": sys.executable, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "hello from the port that anyport found" in done.stdout
    assert re.search(r"tcp is in use: python[\d.]* \(pid \d+, \w+\) listens on 127.0.0.1", done.stdout)
