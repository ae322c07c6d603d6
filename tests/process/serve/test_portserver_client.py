"""A port from the server that PORTSERVER_ADDRESS names, or an error that says why not."""

import contextlib
import json
import os
import pickle
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import anyport
from anyport._portserver import client
from helpers.serving import claims, serving
from helpers.support import COMMAND, NOBODY, anyport_as, listening, needs_root, numbers, sysctl
from helpers.support import anyport as command


@contextlib.contextmanager
def fake(address: str, *answers: bytes) -> Iterator[list[bytes]]:
    """A server of ours that says this, in turn; what it was asked."""
    asked: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(address.replace("@", "\0", 1))
        sock.listen()

        def serve() -> None:
            for each in answers:
                with sock.accept()[0] as connection:
                    asked.append(connection.recv(100))
                    connection.sendall(each)

        thread = threading.Thread(target=serve)
        thread.start()
        yield asked
        thread.join(20)


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> str:
    """Where clients look; nobody is there yet."""
    monkeypatch.setenv("PORTSERVER_ADDRESS", "@anyport-tests")
    return "@anyport-tests"


def test_plain_questions_go_to_the_server(tmp_path: Path, address: str) -> None:
    """find, find_many with labels too, and the command in its plain form and with options; for TCP and UDP both."""
    with serving(tmp_path, address=address):
        ports = [anyport.find(), anyport.find(udp=True), *anyport.find_many(2), *anyport.find_many(as_=["web", "db"])]
        for words in (), ("-n", "2"), ("find",), ("--tcp", "--udp"):
            ports += numbers(command(*words).stdout)
        assert len(set(ports)) == len(ports) == 11
        assert set(ports) == set(claims())
        assert command("--as", "web", "--shell").stdout.startswith("WEB_PORT=201")
        assert f'"portserver": "{address}"' in command("--json").stdout


def test_the_library_asks_for_its_process_and_the_command_for_its_caller(tmp_path: Path, address: str) -> None:
    """The nearest parent that was started as a program: the shell, not its subshell."""
    with serving(tmp_path, address=address):
        mine = anyport.find()
        assert claims() == {mine: os.getpid()}
        script = f"a=$({COMMAND}) b=$({COMMAND} --tcp || exit 1); echo $a $b $$; read line"
        with subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as shell:
            assert shell.stdout
            one, two, pid = map(int, shell.stdout.readline().split())
            assert pid == shell.pid
            assert claims() == {mine: os.getpid(), one: pid, two: pid}
            shell.communicate("\n")


WISHES: "list[dict[str, object]]" = [
    {"port": 20500}, {"from_": 20500}, {"in_": "20500"}, {"name": "web"}, {"here": True}, {"ephemeral": True},
    {"host": "127.0.0.1"}, {"exclude": "20500"}, {"keep": 0}, {"keep": 30}, {"strict": True}, {"portserver": False},
]  # fmt: skip


@pytest.mark.parametrize("words", WISHES, ids=str)
def test_a_wish_that_a_server_cannot_know_is_answered_without_it(address: str, words: "dict[str, object]") -> None:
    """There is none here: whoever asked it would fail."""
    assert address
    assert anyport.find(**words)  # type: ignore[arg-type]


def test_hold_and_run_and_no_portserver_do_without_it(address: str) -> None:
    """They hold what they find: nobody has to be asked."""
    assert address
    with anyport.hold() as held:
        assert held.port
    for words in (
        ("--no-portserver",),
        ("--no-portserver", "-n", "2"),
        ("8080",),
        ("hold", "--for", "1ms"),
        ("run", "true"),
    ):
        assert command(*words).returncode == 0


def test_what_it_gives_is_not_probed(address: str) -> None:
    """The server may hold it itself."""
    with fake(address, b"20500\n"), listening("127.0.0.1", 20500):
        assert anyport.find() == 20500


def test_the_request_is_the_pid_and_a_newline(address: str) -> None:
    """As every client of the protocol sends it."""
    with fake(address, b"20500\n") as asked:
        anyport.find()
    assert asked == [b"%d\n" % os.getpid()]


def told(*words: str) -> "tuple[str, str]":
    """Message and hint of the command, which has no port."""
    done = command(*words)
    assert (done.returncode, done.stdout) == (1, "")
    message, hint = done.stderr.splitlines()
    return message, hint


def test_a_dead_server_is_an_error_that_says_so(address: str) -> None:
    """And how to do without it; portpicker would go on in silence."""
    for words in (), ("-n", "2"):
        message, hint = told(*words)
        assert message == f"anyport: the portserver {address} can't be asked: Connection refused (errno 111)"
        assert hint == (
            "hint: start `anyport serve`, unset PORTSERVER_ADDRESS, or do without it by --no-portserver "
            "(portserver=False)"
        )
    with pytest.raises(anyport.PortServerError) as caught:
        anyport.find()
    assert caught.value.errno == 111
    assert isinstance(caught.value, ConnectionError)
    copied = pickle.loads(pickle.dumps(caught.value))
    assert (str(copied), copied.hint, copied.errno) == (str(caught.value), caught.value.hint, 111)


@pytest.mark.parametrize("backlog", [0, 8])
def test_a_silent_server_is_an_error_that_says_so(address: str, monkeypatch: pytest.MonkeyPatch, backlog: int) -> None:
    """One that never answers, or whose queue of connections is full."""
    monkeypatch.setattr(client, "_PATIENCE", 0.05)
    with socket.socket(socket.AF_UNIX) as sock, socket.socket(socket.AF_UNIX) as first:
        sock.bind("\0" + address[1:])
        sock.listen(backlog)
        first.connect("\0" + address[1:])
        with pytest.raises(anyport.PortServerError, match=r"did not answer within 0\.05 s"):
            anyport.find()


@pytest.mark.parametrize("answer", [b"\n", b"", b"0\n"])
def test_a_server_that_has_none_to_give_is_an_error(address: str, answer: bytes) -> None:
    """An empty line, nothing, or 0, as servers say it."""
    with fake(address, answer), pytest.raises(anyport.PortServerError, match=f"gave no port to process {os.getpid()}"):
        anyport.find()


@pytest.mark.parametrize("answer", [b"garbage\n", b"70000\n", b"-1\n", b"HTTP/1.1 400 Bad Request\r\n", b"1" * 4096])
def test_what_is_no_answer_is_an_error(address: str, answer: bytes) -> None:
    """Something else may listen there."""
    with fake(address, answer), pytest.raises(anyport.PortServerError, match="which is no port"):
        anyport.find()


def test_the_same_port_twice_is_an_error(address: str) -> None:
    """Different ones were asked for."""
    with fake(address, b"20500\n", b"20500\n"), pytest.raises(anyport.PortServerError, match="gave 20500 twice"):
        anyport.find_many(2)


def test_another_users_server_is_not_believed(address: str) -> None:
    """Abstract names belong to whoever takes them first."""
    needs_root()
    code = f"""
import os, socket
os.setgid({NOBODY}); os.setuid({NOBODY})
sock = socket.socket(socket.AF_UNIX)
sock.bind("\\0{address[1:]}")
sock.listen()
print("ready", flush=True)
input()
"""
    words = [sys.executable, "-I", "-c", code]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as squatter:
        assert squatter.stdout
        squatter.stdout.readline()
        message, hint = told()
        assert (
            message == f"anyport: the portserver {address} is run by uid {NOBODY}, and not by this user (uid 0) or root"
        )
        assert hint.startswith("hint: another user has taken that name")
        squatter.communicate("\n")


def test_roots_server_is_believed(tmp_path: Path, address: str) -> None:
    """Where systemd listens for a user's service, it is root who does; but what root serves is for root."""
    needs_root()
    with serving(tmp_path, address=address):
        done = anyport_as(NOBODY)
        assert "gave no port to process" in done.stderr
        assert "it has none left, or refuses that process" in done.stderr


def test_a_number_of_the_ephemeral_range_is_remarked_on(address: str) -> None:
    """The promise table's second row: no promise, and standard error says so."""
    sysctl("net/ipv4/ip_local_port_range", "20000 20999")
    with fake(address, b"20500\n", b"20500\n"):
        assert anyport.find() == 20500
        assert command().stderr == (
            "anyport: note: 20500 lies in the ephemeral range 20000-20999: unless the portserver holds it, the kernel "
            "may give it to another program before yours binds it\n"
        )


def test_the_doctor_says_that_it_can_not_be_asked(tmp_path: Path, address: str) -> None:
    """For then a plain `anyport` gets no port; and nothing of it where there is no such variable."""
    done = command("doctor")
    why = f"the portserver {address} can't be asked: Connection refused (errno 111)"
    assert (done.returncode, done.stderr) == (1, "")
    assert f"\n  portserver          no: {why}\n" in done.stdout
    assert f"\nwarning: `anyport` and `find` get no port: {why}\nhint: start `anyport serve`, unset " in done.stdout
    with serving(tmp_path, address=address):
        found = json.loads(command("doctor", "--json").stdout)
        assert found["features"][-1] == {"name": "portserver", "works": True, "why": "", "errno": 0, "hint": ""}
    os.environ["PORTSERVER_ADDRESS"] = "@"
    assert "warning: `anyport` and `find` get no port: '@' is no address of a" in command("doctor").stdout
    del os.environ["PORTSERVER_ADDRESS"]
    assert "portserver" not in command("doctor").stdout


def test_an_address_that_is_none_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Status 2, and what it should look like."""
    monkeypatch.setenv("PORTSERVER_ADDRESS", "@")
    done = command()
    assert done.returncode == 2
    assert done.stderr == (
        "anyport: '@' is no address of a portserver: it has no name\n"
        "hint: write it as @name, or as the path of a socket\n"
    )
