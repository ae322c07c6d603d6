"""`anyport who` as a command: what it writes where, its exit status, and what it does in narrow surroundings."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import anyport
from helpers.asking import USER
from helpers.running import assert_refused
from helpers.support import (
    COMMAND,
    listening,
    needs,
)
from helpers.support import anyport as command
from helpers.terminal import on_terminal

FIELDS = [
    "protocol", "address", "port", "remote_address", "remote_port", "state", "uid", "inode", "seconds_left", "v6only",
    "interface", "user", "processes",
]  # fmt: skip


def test_json_is_a_list_of_objects() -> None:
    """The fields of an `Occupant`, and nothing else on standard output."""
    with listening("127.0.0.1", 20123), socket.create_connection(("127.0.0.1", 20123)):
        done = command("who", "20123", "--json")
        expected = anyport.who(20123)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert [list(each) for each in found] == [FIELDS, FIELDS]
    assert [list(each) for each in found[0]["processes"]] == [["pid", "name", "command"]]
    assert found == json.loads(
        json.dumps([{**each._asdict(), "processes": [one._asdict() for one in each.processes]} for each in expected])
    )
    assert {each["state"] for each in found} == {"LISTEN", "ESTABLISHED"}


@pytest.mark.parametrize("words", [["20123"], ["20120-20129"], ["20123", "--udp"], ["20123", "--no-connections"]])
def test_json_of_nothing_is_an_empty_list(words: list[str]) -> None:
    """With exit status 1."""
    done = command("who", "--json", *words)
    assert (done.returncode, json.loads(done.stdout), done.stderr) == (1, [], "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["abc"], "'abc' is not a port number"),
        (["0"], "port 0 is out of range: the limits are 1 and 65535"),
        (["70000"], "port 70000 is out of range"),
        (["-5"], "port -5 is out of range"),
        (["9-8"], "the range 9-8 ends before it begins"),
        (["80-"], "the range 80- has no end"),
        ([""], "'' has an empty place in its list of ports"),
        (["80,,81"], "'80,,81' has an empty place"),
        (["80", "x"], "'x' is not a port number"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
        (["80", "--conections"], "unrecognized arguments: --conections"),
        (["--json=1"], "ignored explicit argument '1'"),
    ],
)
def test_bad_input_is_one_line_and_a_hint(words: list[str], message: str) -> None:
    """Exit status 2, and nothing on standard output."""
    assert_refused(command("who", *words), 2, message)


@pytest.mark.parametrize("port", ["abc", 0, 70000, -1, True, 80.5, "9-8", [80, 0], [[80]], "", b"80"])
def test_bad_input_to_the_library(port: object) -> None:
    """InvalidSelection, which is a ValueError, with a hint."""
    with pytest.raises(anyport.InvalidSelection) as error:
        anyport.who(port)  # type: ignore[arg-type]
    assert error.value.hint


def test_help_is_there() -> None:
    """With its exit statuses."""
    shown = command("who", "--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "0 something has one of the ports; 1 nothing has; 2 wrong usage" in shown.stdout


LONG = "import socket, sys\nserver = socket.create_server(('127.0.0.1', 20123))\nprint('ready', flush=True)\ninput()\n"


def seen_on_terminal(width: int, **variables: str) -> str:
    """What `who 20123 --tcp` writes on a terminal of this width."""
    path = f"{Path(COMMAND).parent}:{os.environ['PATH']}"
    with on_terminal(needs("sh"), "-c", "read go; exec anyport who 20123 --tcp", PATH=path, **variables) as shown:
        shown.resize(24, width)
        shown.type("go\n")
        assert shown.wait() == 0
        return shown.rest()


@pytest.mark.parametrize("color", [{}, {"NO_COLOR": "1"}, {"CLICOLOR_FORCE": "1", "FORCE_COLOR": "1"}])
def test_a_terminal_is_not_overrun_and_a_pipe_gets_all(color: dict[str, str]) -> None:
    """Lines of the table end at the width of the terminal; in neither are there escape sequences."""
    words = [sys.executable, "-c", LONG, *(f"word{number}" for number in range(40))]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        assert server.stdout.readline() == "ready\n"
        piped = command("who", "20123", "--tcp", env={**os.environ, **color}).stdout
        on_screen = seen_on_terminal(60, **color)
        server.communicate("end\n")
    table, whole = on_screen.splitlines()[-2:], piped.splitlines()[-2:]
    assert "\x1b" not in on_screen + piped
    assert [len(line) for line in table] == [min(60, len(line)) for line in whole]
    assert table[1] == f"{whole[1][:57]}..."
    assert whole[1].endswith(" word38 word39")
    assert on_screen.splitlines()[0] == piped.splitlines()[0]


WORKERS = """
import os, socket, sys
server = socket.create_server(("127.0.0.1", 20123))
pids = [os.getpid()]
while len(pids) < int(sys.argv[1]) and pids[-1]:
    pids.append(os.fork())
if pids[-1]:
    print(*pids, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("count", [4, 30])
def test_many_workers_leave_room_for_the_rest(count: int) -> None:
    """On a terminal four pids stand for all, or they would push the command off it; a pipe gets each."""
    words = [sys.executable, "-c", WORKERS, str(count)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        pids = sorted(server.stdout.readline().split(), key=int)
        piped, on_screen = command("who", "20123", "--tcp").stdout, seen_on_terminal(120)
        server.communicate("")
    assert f" {','.join(pids)} " in piped.splitlines()[-1]
    more = f" and {count - 4} more" if count > 4 else ""
    assert f" {','.join(pids[:4])}{more}  /" in on_screen.splitlines()[-1]


def test_what_a_process_calls_itself_does_nothing_to_the_terminal() -> None:
    """Escapes in its name and its command line are written as text."""
    code = "from anyport._linux import prctl, libc\nlibc.call('prctl', 15, b'\\x1b[31mevil', 0, 0, 0)\n" + LONG
    words = [sys.executable, "-c", code, "\x1b]0;evil\x07"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        assert server.stdout.readline() == "ready\n"
        done = command("who", "20123", "--tcp")
        server.communicate("end\n")
    assert "\x1b" not in done.stdout
    assert rf"20123/tcp is in use: \x1b[31mevil (pid {server.pid}, {USER}) listens on 127.0.0.1" in done.stdout
    assert r"\x1b]0;evil\x07" in done.stdout.splitlines()[-1]


def test_a_closed_or_full_output_is_an_error() -> None:
    """Not an answer, and no traceback."""
    full = subprocess.run(["sh", "-c", f"{COMMAND} who 20123 >/dev/full"], capture_output=True, text=True, check=False)
    assert "can't write to standard output" in full.stderr
    assert "Traceback" not in full.stderr
    assert full.returncode
