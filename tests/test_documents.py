"""Documents run: the commands in them give what they say, and the generated parts are not stale."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from anyport._candidates import QUIET, Offer
from anyport._clock import pauses
from anyport._linux import sock_diag
from anyport._linux.sysctl import PortSettings
from anyport._ports import BAD_PORTS, SERVICES
from support import COMMAND, needs, private_network

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def console_blocks(page: Path) -> Iterator[str]:
    """Sessions of nothing but anyport: others need servers, and somebody who starts them."""
    for block in re.findall(r"^```console\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
        commands = re.findall(r"^\$ (.*)$", block, re.MULTILINE)
        if all(re.fullmatch(r"anyport(?: [\w,./-]+)*", command) for command in commands) and "ssh (pid" not in block:
            yield block


def alike(text: str) -> str:
    """The text with every number of more than one digit as N, and the user's name as alice."""
    return re.sub(r"\(pid N, \w+\)", "(pid N, alice)", re.sub(r"\d{2,}", "N", text))


BLOCKS = [
    pytest.param(block, id=f"{page.name}-{number}")
    for page in PAGES
    for number, block in enumerate(console_blocks(page))
]


@pytest.mark.parametrize("block", BLOCKS)
def test_sessions_go_as_they_are_shown(block: str) -> None:
    """Run for real, with a server on 8080 where the session has one; numbers may differ, nothing else."""
    commands = re.findall(r"^\$ (.*)$", block, re.MULTILINE)
    with private_network(), server_on_8080(wanted="8080 is in use" in block):
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
        for _ in pauses(20):
            if sock_diag.sockets("tcp", 8080):
                return
        pytest.fail("the server does not listen")

    def __exit__(self, *_error: object) -> None:
        if self.wanted:
            self.process.kill()
            self.process.wait()


def test_there_are_sessions_to_run() -> None:
    """README has five commands, and the tutorial several sessions."""
    assert len(BLOCKS) >= 8
    assert len(re.findall(r"^\$ anyport", next(console_blocks(ROOT / "README.md")), re.MULTILINE)) == 5


def test_the_generated_parts_are_fresh() -> None:
    """Help and API in the reference are those of the code."""
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "generate.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_figures_about_the_quiet_range_are_true() -> None:
    """How many numbers it has, and how many are left out."""
    text = (ROOT / "docs" / "explanation.md").read_text()
    size = sum(map(Offer(PortSettings(32768, 60999, frozenset())).is_quiet, QUIET))
    assert f"{size:,} numbers remain" in text
    assert f"There are {size:,} numbers" in (ROOT / "docs" / "howto-own-port.md").read_text()
    assert f"{len(SERVICES)} well-known services" in text
    assert f"{len(BAD_PORTS)} numbers" in (ROOT / "docs" / "reference.md").read_text()


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
