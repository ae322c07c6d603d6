"""What happens to `anyport serve` at one and the same moment: it is stopped meanwhile, and finds all of it at once."""

import contextlib
import os
import select
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

from anyport._clock import pauses
from helpers.serving import Serving, another_process, claims, connected, serving


@contextlib.contextmanager
def at_one_moment(server: Serving) -> Iterator[None]:
    """What is done in this block the server sees all at once."""
    os.kill(server.process.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, server.process.pid, os.WSTOPPED)
    try:
        yield
    finally:
        os.kill(server.process.pid, signal.SIGCONT)


def descriptors(server: Serving) -> int:
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def until_descriptors(server: Serving, count: int) -> None:
    assert any(descriptors(server) == count for _ in pauses(60))


def until_answered(client: socket.socket) -> None:
    assert select.select([client], [], [], 20)[0]


def test_a_process_ends_and_its_client_goes_without_reading(tmp_path: Path) -> None:
    """As when a shell and the command that asks for it are killed together."""
    with serving(tmp_path, pool="20100") as server, another_process() as owner:
        with connected(server.address) as client:
            client.sendall(b"%d\n" % owner.pid)
            until_answered(client)
            with at_one_moment(server):
                owner.kill()
                owner.wait()
                client.close()
        assert server.port() == 20100


def test_the_descriptor_of_one_that_ended_is_anothers_at_once(tmp_path: Path) -> None:
    """The end that was seen on it is not the other's, who keeps its port."""
    with serving(tmp_path, pool="20100") as server, another_process() as owner:
        before = descriptors(server)
        with connected(server.address) as first, connected(server.address) as unread:
            until_descriptors(server, before + 2)
            first.close()
            until_descriptors(server, before + 1)
            unread.sendall(b"%d\n" % owner.pid)  # its process is watched by the descriptor that the first had
            until_answered(unread)
            before = descriptors(server)
            with connected(server.address) as next_one:
                until_descriptors(server, before + 1)
                with at_one_moment(server):
                    unread.close()
                    next_one.sendall(b"%d\n" % os.getpid())
                    owner.kill()
                    owner.wait()
                assert next_one.recv(100) == b"20100\n"
        assert server.ask(os.getpid()) == b"\n"
        assert claims() == {20100: os.getpid()}
