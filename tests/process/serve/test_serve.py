"""`anyport serve`: ports for processes, each its own until it ends."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import anyport
from anyport._ports import parse_ports
from helpers.serving import PORTS, another_process, ask, claims, serving, until_claims
from helpers.support import (
    COMMAND,
    bound,
    listening,
    needs,
    numbers,
    outputs_of,
    private_network,
    program,
    python,
    sysctl,
)
from helpers.support import anyport as command

PORTPICKER = """
import os, portpicker, sys
ports = [portpicker.pick_unused_port() for _ in range(int(sys.argv[1]))]
print(*ports, os.getpid())
"""


def test_portpickers_own_client_gets_ports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By PORTSERVER_ADDRESS; from the pool, different ones, and nothing on standard error."""
    with serving(tmp_path) as server:
        monkeypatch.setenv("PORTSERVER_ADDRESS", server.address)
        code = [sys.executable, "-c", PORTPICKER, "20"]
        done = subprocess.run(code, capture_output=True, text=True, check=True)
        *ports, _ = map(int, done.stdout.split())
    assert done.stderr == ""
    assert len(set(ports)) == 20
    assert all(port in parse_ports(PORTS) for port in ports)


BOTH = program("find_or_portpicker.py")


def test_many_clients_of_both_kinds_get_different_ports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight processes at once, with portpicker or anyport, ten each, all alive until the last has its own."""
    folder = tmp_path / "there"
    folder.mkdir()
    with serving(tmp_path) as server:
        monkeypatch.setenv("PORTSERVER_ADDRESS", server.address)
        ports = numbers(" ".join(outputs_of(BOTH, 8, str(folder))))
        assert len(set(ports)) == len(ports) == 80
        until_claims({})


def test_a_port_is_its_processs_until_that_ends(tmp_path: Path) -> None:
    """Claimed in the ledger for it, which `who` tells and `find` respects; nobody's as soon as it has ended."""
    with serving(tmp_path, pool="20100") as server, another_process() as owner:
        assert server.port(owner.pid) == 20100
        assert claims() == {20100: owner.pid}
        told = command("who", "20100").stdout
        assert f"given to process {owner.pid} by a portserver, until that process ends" in told
        assert anyport.find(in_="20100,20200") == 20200
        assert server.ask(os.getpid()) == b"\n"
        owner.kill()
        until_claims({})
        assert server.port() == 20100


def test_what_is_claimed_for_a_process_is_given_only_if_there_is_nothing_else(tmp_path: Path) -> None:
    """With a note that says whose it is; and named outright it is given as ever, and stays that process's."""
    with serving(tmp_path, pool="20100") as server:
        assert server.port() == 20100
        for words in ("--in", "20100"), ("20100",):
            done = command(*words)
            assert done.stdout == "20100\n"
            note = (
                f"anyport: note: a portserver gave 20100 to process {os.getpid()}: all that was asked for is claimed\n"
            )
            assert done.stderr == (note if words[0] == "--in" else "")
            assert claims() == {20100: os.getpid()}


def test_not_even_when_all_numbers_were_given_is_a_processs_claim_written_over(tmp_path: Path) -> None:
    """By a process that asks in a loop, around the quiet range and around again."""
    with serving(tmp_path, pool="") as server:
        mine = [server.port() for _ in range(40)]
        done = python("import anyport\nfor _ in range(41_000): anyport.find()")
        assert done.returncode == 0, done.stderr
        assert claims() == dict.fromkeys(mine, os.getpid())


def test_a_claim_ends_with_its_process_though_the_server_was_killed(tmp_path: Path) -> None:
    """Whoever reads the ledger looks whether the owner lives."""
    with serving(tmp_path, pool="20100") as server, another_process() as owner:
        server.port(owner.pid)
        server.stop(signal.SIGKILL)
        assert command("--in", "20100").stderr != ""
        owner.kill()
        owner.wait()
        assert command("--in", "20100").stderr == ""
    assert claims() == {}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_keeps_the_claims_of_living_owners(tmp_path: Path, number: int) -> None:
    """They are in the ledger; what dead ones had meanwhile is free."""
    with another_process() as lives, another_process() as dies:
        with serving(tmp_path, pool="20100,20101,20102") as server:
            kept, lost = server.port(lives.pid), server.port(dies.pid)
            server.stop(number)
        dies.kill()
        dies.wait()
        with serving(tmp_path, pool="20100,20101,20102") as server:
            assert "living processes have 1 of the ports from an earlier server" in server.said
            assert claims() == {kept: lives.pid}
            others = {server.port(), server.port()}
            assert lost in others
            assert kept not in others
            assert server.ask(os.getpid()) == b"\n"
            lives.kill()
            server.until_said("no number of the pool is unused")
            until_claims(dict.fromkeys(others, os.getpid()))
            assert server.port() == kept


def test_what_is_in_use_is_not_given(tmp_path: Path) -> None:
    """By TCP or UDP, on any address; and what a caller of anyport was given lately comes last."""
    with (
        listening("127.0.0.1", 20100), bound("::1", 20101, socket.SOCK_DGRAM), bound("127.0.0.2", 20102),
        serving(tmp_path, pool="20100-20104") as server,
    ):  # fmt: skip
        assert anyport.find(in_="20103") == 20103
        assert (server.port(), server.port(), server.ask(os.getpid())) == (20104, 20103, b"\n")
        assert f"refused: no number of the pool is unused, for process {os.getpid()}" in server.said


def test_the_default_pool_is_the_quiet_range(tmp_path: Path) -> None:
    """Where the ephemeral range leaves none of it, that is an error that names the way out."""
    with serving(tmp_path, pool="") as server:
        assert 10000 <= server.port() < 30000
    with private_network((10000, 30000)):
        done = command("serve", "--socket", str(tmp_path / "other"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "anyport: no port to serve: the ephemeral range 10000-30000 leaves no quiet range\n"
        "hint: name others, such as --pool 15000-24999\n"
    )


def test_a_pool_in_the_ephemeral_range_is_warned_of(tmp_path: Path) -> None:
    """By the server at its start, and by the client for the number that it gets; not if the server holds them."""
    with private_network((20000, 20999)):
        with serving(tmp_path) as server:
            assert "warning: 100 of 100 numbers lie in the ephemeral range 20000-20999" in server.said
            env = {**os.environ, "PORTSERVER_ADDRESS": server.address}
            told = command(env=env).stderr
            assert "lies in the ephemeral range 20000-20999: unless the portserver holds it" in told
        (tmp_path / "said").unlink()
        with serving(tmp_path, "--hold") as server:
            assert "ephemeral" not in server.said


def test_without_hold_any_program_can_bind_what_it_got(tmp_path: Path) -> None:
    """Also one that sets no option."""
    with serving(tmp_path) as server:
        port = server.port()
        for kind in socket.SOCK_STREAM, socket.SOCK_DGRAM:
            bound("::", port, kind).close()


def test_with_hold_the_kernel_keeps_it_for_who_sets_so_reuseaddr(tmp_path: Path) -> None:
    """A plain bind and bind(0) can't have it, a server with the option can, and UDP is only probed."""
    with serving(tmp_path, "--hold", pool="20100,20101") as server, another_process() as owner:
        port = server.port(owner.pid)
        with pytest.raises(OSError, match="in use"):
            bound("127.0.0.1", port)
        bound("::", port, socket.SOCK_DGRAM).close()
        with listening("127.0.0.1", port, reuse=True):
            sysctl("net/ipv4/ip_local_port_range", f"{port} {port}")
            with pytest.raises(OSError, match="in use"):
                bound("0.0.0.0", 0)
        assert "held by `anyport serve`" in command("who", str(port)).stdout
        owner.kill()
        until_claims({})
        bound("127.0.0.1", port).close()


def test_a_real_redis_has_the_port_that_is_held_for_it(tmp_path: Path) -> None:
    """Which it got as the child of a shell that asked for it."""
    redis = needs("redis-server")
    with serving(tmp_path, "--hold", "-v") as server:
        script = f'port=$({COMMAND}) || exit; exec {redis} --port "$port" --save "" --daemonize no'
        env = {**os.environ, "PORTSERVER_ADDRESS": server.address}
        with subprocess.Popen(["sh", "-c", script], env=env, stdout=subprocess.DEVNULL, cwd=tmp_path) as shell:
            port = int(server.until_said(f"is process {shell.pid}'s").split(" is process")[0].split()[-1])
            anyport.wait(port, tree=shell.pid, timeout=60)
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(b"PING\r\n")
                assert client.recv(7) == b"+PONG\r\n"
            shell.terminate()
        server.until_said(f"{port} is free again: process {shell.pid} has ended")


def test_it_tells_its_counts_on_demand(tmp_path: Path) -> None:
    """SIGUSR1, as portpicker's own server."""
    with serving(tmp_path) as server:
        server.port()
        server.ask(b"garbage\n")
        server.process.send_signal(signal.SIGUSR1)
        server.until_said(
            "ports given: 1, free again: 0, requests refused: 1; now given: 1, to so many processes: 1, free: 99"
        )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_well_when_told(tmp_path: Path, number: int) -> None:
    """Status 0, no socket is left, and who has connected and asked by then still gets an answer."""
    with serving(tmp_path) as server:
        os.kill(server.process.pid, signal.SIGSTOP)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(server.address)
            client.sendall(b"%d\n" % os.getpid())
            server.process.send_signal(number)
            server.process.send_signal(signal.SIGCONT)
            assert int(client.recv(100)) in parse_ports(PORTS)
        assert server.process.wait(60) == 0
        assert not Path(server.address).exists()


def test_the_answer_as_json(tmp_path: Path) -> None:
    """Where, how many, and which process."""
    words = [COMMAND, "serve", "--json", "--socket", "@json", "--pool", PORTS]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.stdout
        text = "".join(iter(process.stdout.readline, "}\n")) + "}"
        assert json.loads(text) == {"addresses": ["@json"], "ports": 100, "pid": process.pid}
        process.terminate()
    assert process.returncode == 0


def test_the_address_is_by_default_that_of_the_environment_else_portpickers(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that server and clients mean the same without a word."""
    for variable, address in ("@mine", "@mine"), ("", "@unittest-portserver"):
        monkeypatch.setenv("PORTSERVER_ADDRESS", variable)
        with subprocess.Popen([COMMAND, "serve"], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            assert process.stdout.readline() == f"PORTSERVER_ADDRESS={address}\n"
            assert int(ask(address, os.getpid()))
            process.terminate()


def test_a_ledger_that_cannot_be_used_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server keeps its processes apart all the same."""
    monkeypatch.setenv("ANYPORT_LEDGER", "/proc/version")
    with serving(tmp_path, pool="20100,20101") as server:
        assert "warning: the ledger" in server.said
        assert {server.port(), server.port()} == {20100, 20101}
        assert server.ask(os.getpid()) == b"\n"


WRONG = [
    ("8080", "serve takes no argument: 8080"),
    ("--pool 7-", "the range 7- has no end"),
    ("--pool 70000", "port 70000 is out of range"),
    ("--socket=", "'' is no address of a portserver: it has no name"),
    ("--socket @", "'@' is no address of a portserver: it has no name"),
    (f"--socket {'x' * 108}", "has 108 bytes, and the limit is 107"),
    ("--bold", "unrecognized arguments: --bold"),
]


@pytest.mark.parametrize(("words", "message"), WRONG)
def test_a_wrong_word_is_one_line_and_a_hint(words: str, message: str) -> None:
    """And status 2."""
    done = command("serve", *words.split())
    assert (done.returncode, done.stdout) == (2, "")
    first, hint = done.stderr.splitlines()
    assert message in first
    assert hint.startswith("hint: ")


def test_a_ledger_that_was_removed_has_the_claims_again_within_a_second(tmp_path: Path, ledger: Path) -> None:
    """Without a request: callers of anyport, who have begun a new one, must not be given the same."""
    with serving(tmp_path) as server, another_process() as owner:
        port = server.port(owner.pid)
        ledger.unlink()
        begin = time.monotonic()
        anyport.find(in_="30000")
        until_claims({port: owner.pid})
        assert time.monotonic() - begin < 5  # on a busy machine


def test_what_was_given_without_the_ledger_is_claimed_when_it_can_be_used_again(tmp_path: Path, ledger: Path) -> None:
    """A stopped process had it locked."""
    with serving(tmp_path) as server, another_process() as owner:
        with ledger.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            port = server.port(owner.pid)
            assert claims() == {}
        until_claims({port: owner.pid})
    assert "has been locked by another process for 5 s" in server.said
