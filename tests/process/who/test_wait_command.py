"""`anyport wait` as a command: exit status, words and signals."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import anyport
from anyport._clock import pauses
from helpers.asking import leave_time_wait
from helpers.running import assert_refused
from helpers.sandboxes import within
from helpers.support import COMMAND, bound, listening, needs, private_network
from helpers.support import anyport as command


@contextmanager
def waiting(*words: str) -> Iterator["subprocess.Popen[str]"]:
    """The command, once it has looked and pauses."""
    line = [needs("env"), "--default-signal", COMMAND, "wait", *words]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert any("nanosleep" in Path(f"/proc/{process.pid}/wchan").read_text() for _ in pauses(60))
            yield process
        finally:
            process.kill()


def assert_ends_well(process: "subprocess.Popen[str]") -> None:
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 0


def test_it_ends_when_the_server_listens() -> None:
    """Without a word; at once if it does already."""
    with waiting("20123") as process, bound("127.0.0.1", 20123) as server:
        server.listen()
        assert_ends_well(process)
        done = command("wait", "20123", "--timeout", "0")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_two_ports_and_a_range() -> None:
    """All of them."""
    with waiting("20123", "20124-20125") as process, listening("::1", 20123), listening("127.0.0.1", 20124):
        assert process.poll() is None
        with listening("127.0.0.1", 20125):
            assert_ends_well(process)


def test_udp() -> None:
    """--udp waits for a bound socket."""
    with waiting("20123", "--udp") as process, bound("127.0.0.1", 20123, socket.SOCK_DGRAM):
        assert_ends_well(process)


def test_until_unused() -> None:
    """The server has gone."""
    with listening("127.0.0.1", 20123) as server, waiting("20123", "--until", "unused") as process:
        server.close()
        assert_ends_well(process)


def test_time_out() -> None:
    """Exit status 1, with the line of `who` and a hint."""
    done = command("wait", "20123", "--timeout", "20ms")
    assert (done.returncode, done.stdout) == (1, "")
    first, hint = done.stderr.splitlines()
    assert first == "anyport: timed out after 0.02 s, and no socket listens: 20123/tcp is unused"
    assert hint.startswith("hint: ")
    with listening("127.0.0.1", 20123):
        done = command("wait", "20123", "--until=unused", "--timeout=0")
        line = command("who", "20123", "--tcp").stdout.splitlines()[0]
    assert done.stderr.splitlines()[0] == f"anyport: timed out after 0 s: {line}"
    assert done.returncode == 1


def test_time_out_as_json() -> None:
    """The error, the hint and the sockets on standard output; the line on standard error too."""
    with bound("127.0.0.1", 20123):
        done = command("wait", "20123", "--timeout", "0", "--json")
        expected = anyport.who(20123)
    found = json.loads(done.stdout)
    assert (done.returncode, list(found)) == (1, ["error", "hint", "occupants"])
    assert done.stderr == f"anyport: {found['error']}\nhint: {found['hint']}\n"
    assert [each["inode"] for each in found["occupants"]] == [each.inode for each in expected]
    assert found["occupants"][0]["processes"][0]["pid"] == os.getpid()
    with listening("127.0.0.1", 20123):
        assert command("wait", "20123", "--json").stdout == ""


def test_only_a_tree() -> None:
    """--tree $!, as in a script: the program that was just started."""
    script = f"""
{sys.executable} -c 'import socket; socket.create_server(("127.0.0.1", 20123)).accept()' & server=$!
sleep 60 & other=$!
{COMMAND} wait 20123 --tree $server; echo $?
{COMMAND} wait 20123 --tree $other --timeout 20ms; echo $?
kill $server $other; wait
"""
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "0\n1\n"
    assert done.stderr.splitlines()[-1] == "hint: another process has it"


def test_a_tree_that_ends() -> None:
    """Told at once, and so is one that has ended before: the program failed, and nobody wrote anything wrong."""
    done = command("wait", "20123", "--tree", "4194304")
    assert done.returncode == 1
    assert done.stderr.startswith("anyport: process 4194304 has ended, and no socket that process 4194304 or ")
    with subprocess.Popen(["sleep", "60"]) as program, waiting("20123", "--tree", str(program.pid)) as process:
        program.kill()
        errors = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert errors.startswith(f"anyport: process {program.pid} has ended, and no socket that process {program.pid} or")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no port to wait for"),
        (["abc"], "'abc' is not a port number"),
        (["20123", "--until", "foo"], "'foo' is nothing to wait for: it is listening or unused"),
        (["20123", "--timeout", "x"], "'x' is not a duration"),
        (["20123", "--timeout", "-1s"], "the duration -1s is below its limit, 0"),
        (["20123", "--timeout"], "argument --timeout: expected one argument"),
        (["20123", "--tree", "0"], "'0' is no pid"),
        (["20123", "--tree", "x"], "'x' is no pid"),
        (["20123", "--tree", "1", "--strict"], "--strict and --tree can't be used together"),
        (["20123", "--untill", "unused"], "unrecognized arguments: --untill"),
    ],
)
def test_bad_input_is_one_line_and_a_hint(words: list[str], message: str) -> None:
    """Exit status 2."""
    assert_refused(command("wait", *words), 2, message)


@pytest.mark.parametrize("words", [[], ["abc"], ["20123", "--until", "foo"], ["20123", "--timeout", "x"]])
def test_bad_input_is_not_written_as_json(words: list[str]) -> None:
    """Nothing was asked, so there is no answer on standard output."""
    assert_refused(command("wait", "--json", *words), 2, "")


@pytest.mark.parametrize("words", [["20123"], ["20120-20124"], ["20120-20124", "20123"]])
@pytest.mark.parametrize("reuse", [True, False])
def test_a_leftover_that_keeps_every_server_out_is_remarked(reuse: bool, words: list[str]) -> None:
    """The port counts as unused all the same; where a server with SO_REUSEADDR can bind nothing is said."""
    leave_time_wait(20123, reuse=reuse)
    done = command("wait", *words, "--until", "unused")
    assert (done.returncode, done.stdout) == (0, "")
    note = (
        r"anyport: note: 20123/tcp is in use: TIME_WAIT .*\nhint: not even a server with SO_REUSEADDR can bind it .*\n"
    )
    assert re.fullmatch("" if reuse else note, done.stderr), done.stderr


def test_not_more_than_five_leftovers_are_remarked() -> None:
    """Of a range there may be thousands."""
    for port in range(20120, 20127):
        leave_time_wait(port, reuse=False)
    done = command("wait", "20120-20130", "--until", "unused")
    *notes, last = done.stderr.splitlines()[::2]
    assert [note.split()[2] for note in notes] == [f"{port}/tcp" for port in range(20120, 20125)]
    assert (done.returncode, last) == (0, "anyport: note: and 2 more ports")


def test_ctrl_c() -> None:
    """Exit status 130, without a word."""
    with waiting("20123", "--timeout", "1h") as process:
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60) == ("", "")
        assert process.returncode == 130


def test_it_never_connects() -> None:
    """While it waits a server appears, and nobody comes to it."""
    with waiting("20123", "20124") as process, listening("127.0.0.1", 20123) as server:
        with listening("127.0.0.1", 20124):
            assert_ends_well(process)
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_in_narrow_surroundings() -> None:
    """Without netlink, and with lo down."""
    for before in (within("no-netlink"), [needs("unshare"), "-n"]):
        line = [*before, COMMAND, "wait", "20123", "--timeout", "0", "--until"]
        assert subprocess.run([*line, "unused"], check=False).returncode == 0
        done = subprocess.run([*line, "listening"], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert re.match(r"anyport: timed out after 0 s, and no socket listens: 20123/tcp ", done.stderr)
    with private_network(), listening("127.0.0.1", 20123):
        line = within("no-netlink", COMMAND, "wait", "20123", "--timeout", "0")
        assert subprocess.run(line, check=False).returncode == 0


def test_what_no_table_shows_stands_in_the_way() -> None:
    """Without netlink a bind finds out that a port is not unused: said as `who` does; and leftovers have no way out."""

    def late(port: int) -> list[str]:
        line = within("no-netlink", COMMAND, "wait", str(port), "--until", "unused", "--timeout", "0")
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        return done.stderr.splitlines()

    for reuse in (False, True):  # the latter is how `anyport hold` keeps a port
        with bound("127.0.0.1", 20123, reuse=reuse):
            assert late(20123)[0] == "anyport: timed out after 0 s: 20123/tcp is in use: a socket that can't be seen"
    leave_time_wait(20125, reuse=True)
    line = within("no-netlink", COMMAND, "wait", "20125", "--until", "unused", "--timeout", "0")
    assert subprocess.run(line, check=False).returncode == 0
    leave_time_wait(20124, reuse=False)
    first, hint = late(20124)
    assert first.startswith("anyport: timed out after 0 s: 20124/tcp is in use: TIME_WAIT for ")
    assert hint == "hint: a longer --timeout waits longer"  # and not to leave out --strict, which is not there


def test_help_is_there() -> None:
    """With its exit statuses."""
    shown = command("wait", "--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "130 interrupted" in shown.stdout
