"""`--map`: which number stands for which port, in the command and in the library, and what it can't be."""

import contextlib
from pathlib import Path

import pytest

import anyport
from helpers.real_programs import SUPERVISED, V4
from helpers.real_runs import ask
from helpers.running import assert_refused, run, script
from helpers.support import program

# Both of its numbers, each with something to say, asked by itself; and the numbers on which it listens in truth.
TWO = program("web_and_db.py")


@pytest.mark.parametrize(
    "words",
    [
        ["--as", "web", "--as", "db", "--map", "8080=web", "--map", "5432=db"],
        ["--as", "db", "--as", "web", "--map", "8080=web", "--map", "5432=db"],
        ["--as", "web", "--as", "db", "--map", "8080", "--map", "5432"],
        ["--as", "web", "--as", "other", "--as", "db", "--map", "5432=db", "--map", "8080=web"],
    ],
)
def test_two_numbers_with_labels(words: list[str], tmp_path: Path) -> None:
    """Each stands for the port of its label."""
    done = run(*words, "--", *script(tmp_path, TWO), "{web}", "{db}")
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    web, db, _ = map(int, second.split())
    assert first == f"8080 8080 5432 5432 {min(web, db)} {max(web, db)}"


def test_two_numbers_without_labels(tmp_path: Path) -> None:
    """A port for each."""
    done = run("--map", "8080", "--map", "5432", "--in", "7002-7011", "--", *script(tmp_path, TWO))
    assert (done.returncode, done.stdout.split()[:4]) == (0, ["8080", "8080", "5432", "5432"])
    assert set(map(int, done.stdout.split()[4:6])) < set(range(7002, 7012))


def test_bad_input_is_one_line_and_a_hint() -> None:
    """Before anything is started."""
    done = run("--map", "8080=nolabel", "--", "echo", "started")
    assert_refused(done, 125, "--map 8080=nolabel: no port has the label 'nolabel'")


SELF = """
import os, socket
server = socket.create_server(("127.0.0.1", 8080))
while True:
    server.accept()[0].sendall(b"%d" % os.getpid())
"""


def test_from_the_library(tmp_path: Path) -> None:
    """One number, several, and with labels."""
    command = script(tmp_path, SELF)
    with contextlib.ExitStack() as stack:
        several = [
            stack.enter_context(anyport.run(command, map_=8080)),
            stack.enter_context(anyport.run(command, map_=[8080])),
            stack.enter_context(anyport.run(command, as_="web", map_={8080: "web"})),
        ]
        assert len({each.port for each in several} - {8080}) == 3
        for each in several:
            assert each.hand_over == SUPERVISED
            ask(V4, each.port, b"", b"%d" % each.pid)


def test_bad_input_of_the_library() -> None:
    """The same, as errors."""
    with pytest.raises(anyport.InvalidSelection, match="no port has the label 'db'"):
        anyport.run(["true"], as_="web", map_={8080: "db"})
    with pytest.raises(anyport.InvalidSelection, match="needs the supervised hand-over"):
        anyport.run(["true"], map_=8080, hand_over="shared")
    with pytest.raises(anyport.InvalidSelection, match="is there twice"):
        anyport.run(["true"], map_=[8080, 8080])
