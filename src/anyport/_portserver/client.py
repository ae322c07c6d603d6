"""The client: a port from the server that PORTSERVER_ADDRESS names.

What it gives is not probed, for a server may hold it.  But it is checked who the server is: an abstract name belongs to
whoever takes it first, and a path may lie in a folder where others can write.
"""

import _socket
import os
import struct
import time
from errno import EAGAIN

from anyport._linux.socket import peer_of
from anyport._portserver import VARIABLE, wire
from anyport.errors import PortServerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from anyport._occupant import Refusal

_PATIENCE = 5.0  # seconds for one port
_HINT = f"start `anyport serve`, unset {VARIABLE}, or do without it by --no-portserver (portserver=False)"


class Served:
    """Ports that a server gave: an answer as `find` has it, with nothing refused on the way."""

    def __init__(self, ports: "list[int]", server: str) -> None:
        self.ports = ports
        self.server = server
        self.hosts = ["0.0.0.0", "::"]
        self.protocols = ["tcp", "udp"]  # the protocol's promise: unused for both
        self.refused = False

    def refusals(self) -> "list[Refusal]":
        return []


def ask(server: str, pid: int, count: int) -> "list[int]":
    """Return so many different ports for the process with this pid, which keeps them until it ends.

    PortServerError if the server can't be asked, or has too few.
    """
    path = wire.sun_path(server)
    ports: list[int] = []
    while len(ports) < count:
        port = _ask(server, path, pid)
        if port in ports:
            raise PortServerError(f"the portserver {server} gave {port} twice to process {pid}", hint=_HINT)
        ports.append(port)
    return ports


def reach(server: str) -> None:
    """Connect to the server and see whose it is, without a request.

    PortServerError if it can't be asked, InvalidSelection if it has no address.
    """
    _answer(server, wire.sun_path(server), b"")


def _ask(server: str, path: bytes, pid: int) -> int:
    try:
        port = wire.read_answer(_answer(server, path, wire.request(pid)))
    except wire.Garbage as garbage:
        raise PortServerError(
            f"{server} answered {garbage.args[0][:40]!r}, which is no port", hint=f"is it a portserver? {_HINT}"
        ) from None
    if not port:
        raise PortServerError(
            f"the portserver {server} gave no port to process {pid}: it has none left, or refuses that process",
            hint="the server's own output shows why",
        )
    return port


def _answer(server: str, path: bytes, request: bytes) -> bytes:
    """Return what a server says to a request, once it is known whose it is; nothing to an empty one."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        return _talk(sock, server, path, request)
    except PortServerError:
        raise
    except OSError as error:
        raise _unreachable(server, error) from None
    finally:
        sock.close()


def _talk(sock: "_socket.socket", server: str, path: bytes, request: bytes) -> bytes:
    """Send the request and read the answer, all within the patience.

    By SO_SNDTIMEO and SO_RCVTIMEO, not settimeout: a connect to a Unix socket whose queue is full waits only if the
    socket blocks (unix(7): EAGAIN).
    """
    end = time.monotonic() + _PATIENCE
    _limit(sock, end)
    sock.connect(path)
    _check_peer(sock, server)
    if not request:
        return b""
    sock.sendall(request)
    data = b""
    while b"\n" not in data and len(data) < wire.MOST:
        _limit(sock, end)
        part = sock.recv(wire.MOST)
        if not part:
            break
        data += part
    return data


def _limit(sock: "_socket.socket", end: float) -> None:
    microseconds = max(1, int((end - time.monotonic()) * 1_000_000))
    timeval = struct.pack("@ll", *divmod(microseconds, 1_000_000))
    for option in (_socket.SO_SNDTIMEO, _socket.SO_RCVTIMEO):
        sock.setsockopt(_socket.SOL_SOCKET, option, timeval)


def _check_peer(sock: "_socket.socket", server: str) -> None:
    """Raise unless it is this user's or root's: of a socket that systemd listens on for a service, the peer is root."""
    uid, own = peer_of(sock)[1], os.geteuid()
    if uid not in (own, 0):
        raise PortServerError(
            f"the portserver {server} is run by uid {uid}, and not by this user (uid {own}) or root",
            hint=f"another user has taken that name; name another one in {VARIABLE}, best a path of your own",
        )


def _unreachable(server: str, error: OSError) -> PortServerError:
    if error.errno == EAGAIN:
        return PortServerError(f"the portserver {server} did not answer within {_PATIENCE:g} s", hint=_HINT)
    return PortServerError(
        f"the portserver {server} can't be asked: {error.strerror} (errno {error.errno})", hint=_HINT, errno=error.errno
    )
