"""The library's hold, on real sockets."""

import gc
import os
import socket
import subprocess
import sys
import warnings
from contextlib import ExitStack, suppress
from typing import Any

import pytest

import anyport
from anyport._clock import pauses
from anyport._linux import sock_diag
from helpers.support import bound, listening, private_network, python


def can_listen(port: int, host: str = "127.0.0.1", *, reuse: bool = False) -> bool:
    try:
        listening(host, port, reuse=reuse).close()
    except OSError:
        return False
    return True


def states(port: int, protocol: str = "tcp") -> list[str]:
    return [row.state for row in sock_diag.sockets(protocol, port)]


def test_a_held_port_opens_to_reuseaddr_and_to_nobody_else() -> None:
    """On every address; and with `release` to everybody."""
    with anyport.hold() as held:
        assert states(held.port) == ["BOUND"]
        for host in ("127.0.0.1", "127.0.0.2", "0.0.0.0", "::1", "::"):
            assert not can_listen(held.port, host)
            assert can_listen(held.port, host, reuse=True)
    assert can_listen(held.port)
    assert held.sockets == ()


def test_an_exclusive_hold_opens_in_the_block_only() -> None:
    """What listens by then goes on listening, and nobody else comes in."""
    with anyport.hold(exclusive=True) as held:
        assert not can_listen(held.port, reuse=True)
        with held.handing_over() as same:
            assert same is held
            with held.handing_over():
                pass
            server = listening("127.0.0.1", held.port, reuse=True)
        with server, socket.create_connection(("127.0.0.1", held.port)):
            assert not can_listen(held.port, "127.0.0.2", reuse=True)


def test_listen_turns_the_hold_itself_into_the_server() -> None:
    """The very socket; the next server can have the port right after it, connections in TIME_WAIT or not."""
    with anyport.hold(exclusive=True) as held:
        inode = os.fstat(held.sockets[0].fileno()).st_ino
        server = held.listen(5)
        assert os.fstat(server.fileno()).st_ino == inode
        assert held.sockets == ()
        with pytest.raises(anyport.HandOverUnavailable, match="nothing is held of port"):
            held.listen()
    with server, socket.create_connection(("::1", held.port)) as client:
        accepted, _ = server.accept()
        accepted.close()
        assert client.recv(1) == b""
    assert can_listen(held.port, reuse=True)


def test_udp_and_both_on_one_number() -> None:
    """TCP and UDP are held side by side; listen takes the TCP one and leaves the other held."""
    with anyport.hold(tcp=True, udp=True) as held:
        assert [sock.type for sock in held.sockets] == [socket.SOCK_STREAM, socket.SOCK_DGRAM]
        assert states(held.port) == states(held.port, "udp") == ["BOUND"]
        held.listen().close()
        with pytest.raises(OSError, match="in use"):
            bound("127.0.0.1", held.port, socket.SOCK_DGRAM)
    with anyport.hold(udp=True) as held, pytest.raises(anyport.HandOverUnavailable, match="has 0 TCP sockets"):
        held.listen()


def test_a_udp_server_under_the_hold_gets_every_datagram() -> None:
    """The hold is the least specific socket."""
    with anyport.hold(udp=True) as held, bound("0.0.0.0", held.port, socket.SOCK_DGRAM, reuse=True) as server:
        server.settimeout(60)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            for number in range(50):
                client.sendto(b"%d" % number, ("127.0.0.1", held.port))
                assert server.recv(10) == b"%d" % number


def test_a_host_narrows_the_hold() -> None:
    """There and only there, one socket for each of its addresses."""
    with anyport.hold(host="127.0.0.1") as held:
        assert can_listen(held.port, "127.0.0.2")
        assert not can_listen(held.port)
    with anyport.hold(host=["127.0.0.1", "::1"]) as held:
        assert len(held.sockets) == 2
        with pytest.raises(anyport.HandOverUnavailable, match="has 2 TCP sockets"):
            held.listen()


def test_several_holds_come_and_go_together() -> None:
    """All or none, in order, each with its own sockets."""
    with anyport.hold_many(3, contiguous=True) as held:
        assert held.ports == list(range(held[0].port, held[0].port + 3))
        assert len(held) == 3
        assert [each.port for each in held] == held.ports
        assert all(states(port) == ["BOUND"] for port in held.ports)
    assert all(states(port) == [] for port in held.ports)


def test_all_or_none_leaves_nothing_bound_behind() -> None:
    """Neither what was tried for a block in vain, nor what came before the number that is used."""
    with listening("::", 20125), pytest.raises(anyport.NoUnusedPort):
        anyport.hold_many(3, port=[20123, 20124, 20125], only=True)
    with listening("::", 20125), anyport.hold_many(2, in_="20123-20128", contiguous=True, order="ascending") as held:
        assert held.ports == [20123, 20124]
    assert states(20123) == states(20124) == states(20126) == []


def test_numbers_in_the_ephemeral_range_are_held_too() -> None:
    """The kernel's own choice does not move away under the holder."""
    with private_network((40000, 40003)), anyport.hold(ephemeral=True) as held:
        with ExitStack() as others:
            ports = {others.enter_context(bound("0.0.0.0", 0)).getsockname()[1] for _ in range(3)}
            with pytest.raises(OSError, match="in use"):
                bound("0.0.0.0", 0)
        assert ports == set(range(40000, 40004)) - {held.port}


def test_a_hold_takes_the_place_of_leftovers() -> None:
    """A number of which only TIME_WAIT is left is held, if it was named; `strict` refuses it."""
    with listening("127.0.0.1", 20123, reuse=True) as server, socket.create_connection(("127.0.0.1", 20123)) as client:
        server.accept()[0].close()
        client.recv(1)
    assert states(20123) == ["TIME_WAIT"]
    with anyport.hold(20123, only=True, exclusive=True) as held:
        assert not can_listen(20123, reuse=True)
        with held.handing_over():
            assert can_listen(20123, reuse=True)
        with pytest.raises(anyport.NoUnusedPort):
            anyport.hold(20123, only=True)
    with pytest.raises(anyport.NoUnusedPort):
        anyport.hold(20123, only=True, strict=True)


def test_a_dropped_hold_warns_and_lets_go() -> None:
    """ResourceWarning, once; a released one does not."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        port = anyport.hold().port
        gc.collect()
    assert [str(each.message) for each in caught if each.category is ResourceWarning] == [
        f"the hold of port {port} was dropped without release"
    ]
    assert states(port) == []
    held = anyport.hold()
    held.release()
    held.release()
    del held
    gc.collect()


def test_a_hold_has_no_public_constructor() -> None:
    """Nobody has one without a socket behind it."""
    kinds: list[Any] = [anyport.Hold, anyport.Holds, anyport.Running]
    for kind in kinds:
        with pytest.raises(TypeError, match="has no public constructor"):
            kind(8080)


def test_a_program_that_is_started_does_not_get_the_hold() -> None:
    """Not even with all descriptors left open."""
    with anyport.hold() as held:
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False)
        held.release()
        assert any(can_listen(held.port) for _ in pauses(60))  # exec closes descriptors after Popen has returned
        child.communicate(b"\n")


def test_a_fork_holds_the_port_too_and_can_release_its_share() -> None:
    """The port stays held until both have let go."""
    with anyport.hold() as held:
        to_child, from_parent = os.pipe()
        pid = os.fork()
        if not pid:  # the child: hold on until told to release, then stay until told to end
            with suppress(BaseException):
                os.close(from_parent)
                os.read(to_child, 1)
                held.release()
                os.read(to_child, 1)
            os._exit(0)
        os.close(to_child)
        held.release()
        assert states(held.port) == ["BOUND"]
        os.write(from_parent, b"1")
        assert any(not states(held.port) for _ in pauses(60))
        os.close(from_parent)
        os.waitpid(pid, 0)


ACTIVATED = """
import os, socket
names = {name: value for name, value in os.environ.items() if name.startswith("LISTEN_")}
assert names.pop("LISTEN_PID") == str(os.getpid())
print(names, sorted(int(fd) for fd in os.listdir("/proc/self/fd") if int(fd) > 2)[:2])
server = socket.socket(fileno=3)
server.accept()[0].sendall(b"activated")
"""


def test_a_program_inherits_the_hold_by_socket_activation() -> None:
    """Descriptors from 3 on, LISTEN_PID its own; connections wait for it."""
    with anyport.hold(exclusive=True) as held:
        child = subprocess.Popen(  # the descriptors of the test's own process lie above 3
            **held.inherit([sys.executable, "-c", ACTIVATED]), stdout=subprocess.PIPE, text=True
        )
        with socket.create_connection(("127.0.0.1", held.port)) as client:
            assert client.recv(20) == b"activated"
        found = child.communicate()[0]
        assert found.startswith(f"{{'LISTEN_FDS': '1', 'LISTEN_FDNAMES': '{held.port}'}} [3")
    with pytest.raises(anyport.HandOverUnavailable, match="nothing is held of port"):
        held.inherit(["true"])


def test_inherit_passes_an_environment_on_and_says_what_is_not_there() -> None:
    """127 and a line for a program that is missing."""
    with anyport.hold() as held:
        done = subprocess.run(
            **held.inherit(["no-such-program"], env={"PATH": "/bin"}), capture_output=True, text=True, check=False
        )
    assert done.returncode == 127
    assert done.stderr.startswith("anyport: no-such-program can't be started: No such file")


def test_a_hold_at_the_end_of_the_interpreter_is_no_trouble() -> None:
    """It warns at most, and no traceback is shown."""
    done = python("import anyport; held = anyport.hold(); import sys; sys.exit(3)")
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
