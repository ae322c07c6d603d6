"""`anyport who` and `anyport.who` with real sockets: verdict and table, word by word."""

import os
import re
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

import anyport
from anyport._linux import proc
from helpers.asking import LISTENS, ME, OURS, PYTHON, USER, assert_lines, said_of_unused, started_as, who
from helpers.support import bound, listening, private_network


def test_a_server() -> None:
    """The verdict on each protocol, then the table; exit status 0."""
    with listening("127.0.0.1", 20123):
        lines = who("20123")
    assert_lines(
        lines, rf"20123/tcp is in use: {OURS} listens on 127\.0\.0\.1", "20123/udp is unused", "",
        r"PROTO  STATE   LOCAL +USER +PROCESS +COMMAND",
        rf"tcp    LISTEN  127\.0\.0\.1:20123  {USER}  {re.escape(PYTHON)} {ME} +\S.*",
    )  # fmt: skip


def test_nothing() -> None:
    """Unused, says the verdict, without a table; exit status 1."""
    assert said_of_unused("20123") == ["20123/tcp is unused", "20123/udp is unused"]
    assert said_of_unused("20123", "--tcp") == ["20123/tcp is unused"]
    assert anyport.who(20123) == []


@pytest.mark.parametrize(("protocol", "kind"), [("tcp", socket.SOCK_STREAM), ("udp", socket.SOCK_DGRAM)])
def test_one_protocol(protocol: str, kind: int) -> None:
    """With --tcp or --udp the other one counts for nothing; both are the same as neither."""
    other = "udp" if protocol == "tcp" else "tcp"
    with bound("::", 20123, kind):
        silent = " and does not listen" if protocol == "tcp" else ""
        assert_lines(
            who("20123", f"--{protocol}")[:2], rf"20123/{protocol} is in use: {OURS} is bound to ::{silent}", ""
        )
        assert said_of_unused("20123", f"--{other}") == [f"20123/{other} is unused"]
        assert who("20123", "--tcp", "--udp") == who("20123")
        assert [each.protocol for each in anyport.who(20123)] == [protocol]
        assert anyport.who(20123, tcp=other == "tcp", udp=other == "udp") == []


def test_who_is_a_list_of_occupants() -> None:
    """Frozen, by ascending port, with all that the table has; without processes if they are not wanted."""
    with listening("127.0.0.1", 20124), bound("::1", 20123, socket.SOCK_DGRAM) as first:
        found = anyport.who("20120-20130")
        assert [each.port for each in found] == [20123, 20124]
        assert found == anyport.who([20124, 20123]) == anyport.who("20124,20123") == anyport.who(("20124", 20123))
        (process,) = found[0].processes
        assert (process.pid, process.name) == (ME, PYTHON)
        words = Path("/proc/self/cmdline").read_bytes().decode().rstrip("\0").split("\0")
        assert list(process.command) == words
        assert found[0][:8] == ("udp", "::1", 20123, None, None, "BOUND", 0, os.fstat(first.fileno()).st_ino)
        assert (found[0].user, found[0].interface, found[0].seconds_left) == (USER, None, None)
        plain = anyport.who("20120-20130", processes=False)
        assert [each._replace(processes=()) for each in found] == plain
        with pytest.raises(AttributeError):
            found[0].port = 1  # type: ignore[misc]


def test_every_port() -> None:
    """No number: a table of all, without a verdict; nothing at all is said to be so."""
    with private_network():
        assert said_of_unused() == ["no port is in use (tcp, udp)"]
        assert said_of_unused("--udp") == ["no port is in use (udp)"]
        with bound("127.0.0.1", 20123), listening("127.0.0.1", 20124), bound("127.0.0.1", 20122, socket.SOCK_DGRAM):
            lines = who()
            assert [line.split()[:3] for line in lines] == [
                ["PROTO", "STATE", "LOCAL"], ["udp", "BOUND", "127.0.0.1:20122"], ["tcp", "BOUND", "127.0.0.1:20123"],
                ["tcp", "LISTEN", "127.0.0.1:20124"],
            ]  # fmt: skip
            assert sorted(each.port for each in anyport.who()) == [20122, 20123, 20124]


def test_a_range_is_counted() -> None:
    """How many of its numbers are in use, of each protocol; a number named by itself has its verdict besides."""
    with listening("127.0.0.1", 20123), listening("127.0.0.1", 20125):
        assert_lines(
            who("20120-20129", "20123")[:5],
            rf"20123/tcp is in use: {OURS} listens on 127\.0\.0\.1", "20123/udp is unused",
            "20120-20129/tcp: 2 of 10 in use", "20120-20129/udp: none of 10 in use", "",
        )  # fmt: skip
    assert said_of_unused("20120-20129,20140-20141", "--udp") == [
        "20120-20129/udp: none of 10 in use", "20140-20141/udp: none of 2 in use",
    ]  # fmt: skip


def test_several_numbers() -> None:
    """A verdict on each, in order; one that is in use is enough for exit status 0."""
    with listening("127.0.0.1", 20124):
        lines = who("20125", "20124", "20123", "--tcp")
    assert_lines(
        lines[:4], "20123/tcp is unused", rf"20124/tcp is in use: {OURS} .*", "20125/tcp is unused", "",
    )  # fmt: skip
    assert len(lines) == 6


def test_connections_can_be_left_out() -> None:
    """The server comes first, then its connections; --no-connections keeps the server."""
    with listening("127.0.0.1", 20123) as server, socket.create_connection(("127.0.0.1", 20123)):
        lines = who("20123", "--tcp")
        assert [line.split()[:2] for line in lines[2:]] == [
            ["PROTO", "STATE"], ["tcp", "LISTEN"], ["tcp", "ESTABLISHED"],
        ]  # fmt: skip
        assert "REMOTE" in lines[2]
        assert len(who("20123", "--tcp", "--no-connections")) == 4
        assert [each.state for each in anyport.who(20123, connections=False)] == ["LISTEN"]
        server.accept()[0].close()


def test_without_a_number_connections_that_are_left_out_are_not_denied() -> None:
    """Nothing listens, and it is not said that no port is in use: a connection has one."""
    with private_network(), ExitStack() as stack:
        with listening("127.0.0.1", 20124) as server:
            stack.enter_context(socket.create_connection(server.getsockname()))
            stack.enter_context(server.accept()[0])
        assert said_of_unused("--no-connections") == ["no socket listens or is merely bound (tcp, udp)"]
        assert len(who()) == 3


def test_siblings_are_listed_one_by_one() -> None:
    """SO_REUSEPORT: one sentence, and a row for each socket."""
    with ExitStack() as stack:
        for _ in range(3):
            sock = stack.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind(("127.0.0.1", 20123))
            sock.listen()
        lines = who("20123", "--tcp")
        assert_lines(lines[:2], rf"20123/tcp is in use: {OURS} listens on 127\.0\.0\.1 with 3 sockets", "")
        assert len(lines) == 6
        assert len({each.inode for each in anyport.who(20123)}) == 3


def test_a_socket_that_is_shared_by_fork() -> None:
    """Both processes, in the verdict and in the table."""
    code = LISTENS.replace('print("ready"', 'child = os.fork()\nif child: print("ready"')
    with started_as(0, code + "os.kill(child, 9)\n", "20123") as parent:
        (child,) = proc.descendants(parent.pid)
        lines = who("20123", "--tcp")
        assert re.match(rf"20123/tcp is in use: python\S* \(pids {parent.pid}, {child}, root\) listens", lines[0])
        assert re.search(rf" python\S* {parent.pid},{child} ", lines[-1])
        assert [each.pid for each in anyport.who(20123)[0].processes] == [parent.pid, child]
        os.kill(child, 9)


def test_a_port_that_only_a_connection_has_is_not_unused() -> None:
    """Whatever of it is to be shown: with --no-connections too the verdict is about all."""
    with listening("127.0.0.1", 20124) as server, bound("127.0.0.1", 20123) as client:
        client.connect(server.getsockname())
        (line, *rest) = who("20123", "--tcp", "--no-connections")
        assert re.fullmatch(rf"20123/tcp is in use: {OURS} has a connection from .* \(ESTABLISHED\)", line)
        assert not any("ESTABLISHED" in each for each in rest)
        assert anyport.who(20123, connections=False) == []


def test_an_empty_list_is_not_every_port() -> None:
    """None is; a Python range is one of numbers that are not bound."""
    with bound("127.0.0.1", 20123):
        nothings: list[list[int] | tuple[int, ...] | range] = [[], (), range(0)]
        for nothing in nothings:
            with pytest.raises(anyport.InvalidSelection):
                anyport.who(nothing)
        assert [each.port for each in anyport.who(range(20120, 20130))] == [20123]
