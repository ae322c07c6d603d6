"""Real programs of two users, and sockets in every state that a socket with a port can be in, on fixed ports.

For a test in a network namespace of its own.  The table stays as it is for about a minute, until what is left of
connections ends: long enough to look at it twice.
"""

import contextlib
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from anyport._clock import pauses
from anyport._linux import proc, sock_diag
from helpers.real_programs import FILES, V4, V6, words
from helpers.real_runs import contained
from helpers.real_sshd import reachable_sshd, running
from helpers.support import NOBODY, bound, listening, needs_root

NGINX, NODE, REDIS, TUNNEL = 8080, 3000, 6379, 2000
SYSLOG, ECHO, NETCAT, NETCAT_UDP = 5140, 5007, 7000, 7001  # of socat, and of another user's netcat
OWN, OWN_UDP, DROPS, DEFERS = 9000, 9100, 9001, 9002
LINK_LOCAL = "fe80::1"
STATES = {
    "BOUND", "LISTEN", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT1", "FIN_WAIT2", "CLOSE_WAIT", "CLOSING",
    "LAST_ACK", "TIME_WAIT",
}  # fmt: skip
NO_INODE = {  # how many sockets of each state no process has
    "ESTABLISHED": 2, "SYN_RECV": 1, "FIN_WAIT1": 1, "FIN_WAIT2": 1, "LAST_ACK": 1, "TIME_WAIT": 4,
}  # fmt: skip
Pair = tuple[socket.socket, socket.socket]


class Bound(NamedTuple):
    """A TCP socket that is bound and nothing else."""

    address: str
    port: int
    v6only: bool = False
    interface: str | None = None


class Zoo(NamedTuple):
    """What the table can't be asked about."""

    keepers: "set[int]"  # the processes that share the bound-only sockets, and a server
    nginx: "set[int]"  # the master and its workers


BOUND = [
    Bound("0.0.0.0", 9200), Bound(V4, 9201), Bound("::", 9202, v6only=True), Bound("::", 9203),
    Bound(V6, 9204, v6only=True), Bound("0.0.0.0", 9205, interface="lo"), Bound(f"::ffff:{V4}", 9206),
    Bound(LINK_LOCAL, 9207, v6only=True, interface="lo"),
]  # fmt: skip


@contextlib.contextmanager
def zoo(folder: Path) -> Iterator[Zoo]:
    """All of them, until the block ends."""
    needs_root()
    subprocess.run(words(f"ip address add {LINK_LOCAL}/64 dev lo nodad"), check=True)
    with contained(), contextlib.ExitStack() as stack:
        nginx = _programs(stack, Path(shutil.copytree(FILES, folder / "zoo")))
        keepers = _keepers(stack)
        _clients(stack)
        _datagrams(stack)
        _states(stack)
        _wait_until_accepted()
        yield Zoo(keepers, _tree(nginx))


def _programs(stack: contextlib.ExitStack, folder: Path) -> int:
    """The servers, and clients that are programs as well; the pid of nginx."""
    reach = stack.enter_context(reachable_sshd())

    def start(command: "list[str]", sockets: int = 1, port: int = 0) -> int:
        process = stack.enter_context(running(["env", "-C", str(folder), f"PORT={port}", *command]))
        _wait_for_sockets(process, sockets)
        return process.pid

    nginx = start(words("sh nginx.sh nginx off 'PORT reuseport' '[::]:PORT reuseport'"), 4, NGINX)
    start(words("node http.js"), port=NODE)
    start(words(f"redis-server --port {REDIS} --save '' --bind {V4} {V6}"), 2)
    start(words(f"socat -u udp-recv:{SYSLOG} open:/dev/null"))
    start(words(f"socat udp6-listen:{ECHO},ipv6only=0 exec:cat"))
    as_nobody = words(f"setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups")
    start(as_nobody + words(f"nc.openbsd -lk {V4} {NETCAT}"))
    start(as_nobody + words(f"nc.openbsd -luk {V4} {NETCAT_UDP}"))
    for host in (V4, V6):
        start(words(f"redis-cli -h {host} -p {REDIS} subscribe news"))
    start([*reach, "-N", "-L", f"{TUNNEL}:{V4}:{REDIS}"], 3)
    return nginx


def _wait_for_sockets(process: "subprocess.Popen[str]", count: int) -> None:
    """Until so many of the process's sockets are in the table, and more than bound if they are of TCP."""
    for _ in pauses(60):
        rows = [row for row in sock_diag.sockets("tcp") if row.state != "BOUND"] + sock_diag.sockets("udp")
        if len(proc.socket_inodes(process.pid) & {row.inode for row in rows}) >= count:
            return
        assert process.poll() is None, process.communicate()
    pytest.fail(f"no {count} sockets: {process.args!r}")


def _tree(nginx: int) -> "set[int]":
    """The master and both workers."""
    for _ in pauses(60):
        if len(pids := {nginx, *proc.descendants(nginx)}) == 3:
            return pids
    pytest.fail(f"nginx has not got two workers: {pids}")


def _keepers(stack: contextlib.ExitStack) -> "set[int]":
    """Two processes that share the bound-only sockets, and one that listens, to which somebody is connected."""
    with contextlib.ExitStack() as ours:
        sockets = [ours.enter_context(_bound(each)) for each in BOUND]
        server = ours.enter_context(listening(V4, OWN + 50))
        client = stack.enter_context(socket.create_connection(server.getsockname()))
        accepted = ours.enter_context(server.accept()[0])
        client.send(b"unread")
        given = [sock.fileno() for sock in (*sockets, server, accepted)]
        return {stack.enter_context(_keeper(given)) for _ in range(2)}


@contextlib.contextmanager
def _keeper(given: "Sequence[int]") -> Iterator[int]:
    process = subprocess.Popen(words("sleep infinity"), stdin=subprocess.DEVNULL, pass_fds=given)
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(60)


def _bound(wanted: Bound) -> socket.socket:
    if wanted.interface is None:
        return bound(wanted.address, wanted.port, v6only=wanted.v6only)
    sock = socket.socket(socket.AF_INET6 if ":" in wanted.address else socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, wanted.interface.encode())
    sock.bind((wanted.address, wanted.port))
    return sock


def _clients(stack: contextlib.ExitStack) -> None:
    """Connections that stay: to the programs on both loopbacks, mapped ones, and through the tunnel."""

    def connect(host: str, port: int) -> socket.socket:
        return stack.enter_context(socket.create_connection((host, port), timeout=60))

    for port in (NGINX, NODE):
        for host in (V4, V6, f"::ffff:{V4}"):
            connect(host, port)
    for port in (REDIS, TUNNEL):
        for host in (V4, V6):
            client = connect(host, port)
            client.sendall(b"PING\r\n")
            assert client.recv(10) == b"+PONG\r\n"
    for _ in range(2):  # netcat talks to one at a time, the other is not accepted
        connect(V4, NETCAT)


def _datagrams(stack: contextlib.ExitStack) -> None:
    """UDP: unconnected on all kinds of addresses, connected, on one interface, and two that share a port."""
    for number, (host, v6only) in enumerate([("0.0.0.0", False), (V4, False), ("::", True), ("::", False)]):
        stack.enter_context(bound(host, OWN_UDP + number, socket.SOCK_DGRAM, v6only=v6only))
    for _ in range(2):
        stack.enter_context(bound(V4, OWN_UDP + 10, socket.SOCK_DGRAM, reuse=True))
    on_lo = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
    on_lo.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
    on_lo.bind(("", OWN_UDP + 11))
    for host, port in ((V4, SYSLOG), (V6, OWN_UDP + 2), (f"::ffff:{V4}", OWN_UDP)):
        client = bound("::" if ":" in host else "0.0.0.0", 0, socket.SOCK_DGRAM)
        stack.enter_context(client).connect((host, port))
    client = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
    client.settimeout(60)
    client.connect((V4, ECHO))
    client.send(b"hello")
    assert client.recv(10) == b"hello"  # socat is connected to this client now


def _states(stack: contextlib.ExitStack) -> None:
    """Every state of TCP, with a process and without one, where it can be without."""
    v4, v6 = (stack.enter_context(listening(host, OWN)) for host in (V4, V6))
    link_local = stack.enter_context(_bound(Bound(LINK_LOCAL, OWN, interface="lo")))
    link_local.listen()
    own, peer = _pair(stack, link_local)  # ESTABLISHED, on an interface
    for end in (_close, _shut):
        own, peer = _pair(stack, v4)  # FIN_WAIT2 and CLOSE_WAIT
        end(own)
        own, peer = _pair(stack, v6)  # FIN_WAIT1, for the peer does not read
        _fill(own)
        end(own)
        own, peer = _pair(stack, v4)  # LAST_ACK
        _shut(peer)
        _fill(own)
        end(own)
    own, peer = _pair(stack, v4)  # CLOSING
    _fill(own)
    _shut(own)
    _shut(peer)
    drops = stack.enter_context(bound(V4, DROPS))
    drops.listen(0)  # room for one
    stack.enter_context(socket.create_connection((V4, DROPS)))
    _connect(stack, DROPS)  # SYN_SENT
    defers = stack.enter_context(listening(V4, DEFERS))
    defers.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 60)
    _connect(stack, DEFERS)  # whose other end is in SYN_RECV, until it says something
    for server in (v4, v6):
        for own, peer in (_pair(stack, server), reversed(_pair(stack, server))):  # TIME_WAIT, of client and server
            own.close()
            peer.close()


def _pair(stack: contextlib.ExitStack, server: socket.socket) -> Pair:
    """A client of that server, and its peer there, with little room for what is not read."""
    client = stack.enter_context(socket.socket(server.family))
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(server.getsockname())
    return client, stack.enter_context(server.accept()[0])


def _connect(stack: contextlib.ExitStack, port: int) -> None:
    client = stack.enter_context(socket.socket())
    client.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        client.connect((V4, port))


def _fill(sock: socket.socket) -> None:
    """Send until there is no room any more."""
    sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            sock.send(bytes(65536))


def _shut(sock: socket.socket) -> None:
    sock.shutdown(socket.SHUT_WR)


def _close(sock: socket.socket) -> None:
    sock.close()


def _wait_until_accepted() -> None:
    """The programs have taken their connections, and each state is there."""
    counts: dict[str, int] = {}
    for _ in pauses(60):
        rows = sock_diag.sockets("tcp")
        without = [row.state for row in rows if not row.inode]
        counts = {state: without.count(state) for state in without}
        if counts == NO_INODE and {row.state for row in rows} == STATES:
            return
    pytest.fail(f"sockets that no process has: {counts}")
