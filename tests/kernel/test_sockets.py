"""The kernel's socket table, with `ss` and /proc as second witnesses."""

import os
import signal
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from anyport._clock import pauses
from anyport._linux import netlink, proc, sock_diag
from helpers.support import NOBODY, bound, listening, needs, private_network, program, python, python_as


def test_listening_sockets_are_those_that_ss_shows() -> None:
    """Protocol, state, address and port of each, both families."""
    ss = needs("ss")
    with private_network(), ExitStack() as stack:
        for host in ("127.0.0.1", "127.0.0.2", "::1", "0.0.0.0"):
            stack.enter_context(listening(host, 0))
            stack.enter_context(bound(host, 0, socket.SOCK_DGRAM))
        shown = subprocess.run([ss, "-tulnH"], capture_output=True, text=True, check=True).stdout.splitlines()
        theirs = sorted((line.split()[0], line.split()[4].replace("[", "").replace("]", "")) for line in shown)
        rows = [row for protocol in ("tcp", "udp") for row in sock_diag.sockets(protocol)]
        ours = sorted((row.protocol, f"{row.address}:{row.port}") for row in rows)
    assert ours == theirs
    assert {row.state for row in rows if row.protocol == "tcp"} == {"LISTEN"}


def test_a_bound_socket_is_seen_although_proc_shows_nothing() -> None:
    """With the inode that fstat gives, and our uid."""
    with private_network(), bound("127.0.0.1", 20123) as held:
        (row,) = sock_diag.sockets("tcp", 20123)
        assert (row.state, row.address, row.port, row.uid) == ("BOUND", "127.0.0.1", 20123, os.geteuid())
        assert row.inode == os.fstat(held.fileno()).st_ino
        assert sock_diag.sockets("tcp", 20124) == []
        assert f":{20123:04X} " not in Path("/proc/thread-self/net/tcp").read_text()


def test_a_large_table_is_read_to_its_end() -> None:
    """More rows than one datagram holds; each port once."""
    with private_network(), ExitStack() as stack:
        ports = {stack.enter_context(bound("127.0.0.1", 0)).getsockname()[1] for _ in range(900)}
        assert sorted(row.port for row in sock_diag.sockets("tcp")) == sorted(ports)


def test_bound_ports_are_read_at_once() -> None:
    """Listening or not, both families; connections are not among them."""
    with private_network(), ExitStack() as stack:
        taken = {
            stack.enter_context(bound(host, 0)).getsockname()[1] for host in ("127.0.0.1", "::1") for _ in range(300)
        }
        server = stack.enter_context(listening("127.0.0.1", 0))
        stack.enter_context(socket.create_connection(server.getsockname()))
        stack.enter_context(server.accept()[0])
        assert sock_diag.bound_tcp_ports() == taken | {server.getsockname()[1]}


def test_the_owner_of_a_socket_is_found_by_its_inode() -> None:
    """Every process that has it: after a fork both."""
    code = program("owns_a_socket.py")
    done = python(code)
    assert done.returncode == 0, done.stderr


def test_another_users_process_stays_unseen() -> None:
    """An ordinary user reads the socket's uid, and no descriptor of the process."""
    code = """
from anyport._linux import proc, sock_diag
(row,) = sock_diag.sockets("tcp", 20123)
print(row.uid, row.inode > 0, proc.socket_owners({row.inode}))
"""
    with private_network(), listening("127.0.0.1", 20123):
        done = python_as(NOBODY, code)
    assert done.stdout == "0 True {}\n", done.stderr


def test_a_refused_request_is_an_oserror() -> None:
    """An unknown family: the kernel's errno, and the socket is closed."""
    with pytest.raises(netlink.NetlinkError) as error:
        netlink.dump(sock_diag.NETLINK_SOCK_DIAG, sock_diag.SOCK_DIAG_BY_FAMILY, bytes([250]) + bytes(55), netlink.rows)
    assert error.value.errno


def test_a_process_that_is_gone_has_no_name() -> None:
    """Pid 0 never is a process."""
    assert proc.comm(0) == ""


def test_descendants_are_found_with_and_without_the_kernels_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """CONFIG_PROC_CHILDREN is not everywhere: then each process is asked for its parent."""
    with subprocess.Popen(["sh", "-c", "sleep 60 & wait"]) as child:
        try:
            assert any(len(proc.descendants(os.getpid())) == 2 for _ in pauses(60))
            by_list = proc.descendants(os.getpid())
            monkeypatch.setattr(os.path, "exists", lambda _path: False)
            assert proc.descendants(os.getpid()) == by_list
            assert by_list[0] == child.pid
        finally:
            for pid in by_list:
                os.kill(pid, signal.SIGKILL)
