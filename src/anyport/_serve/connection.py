"""The clients of a portserver: what each has sent, and what it was told; and who is waited for how long."""

import select
import socket
import time

from anyport._linux.socket import peer_of
from anyport._portserver import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_AT_ONCE = 65536  # bytes; a client that sends more than its line is read and not listened to


class Connection:
    """A client from accept to close; `until` is when its patience ends, in seconds of the monotonic clock.

    Once it is answered, `port` and `owner` are what it got, and it is only waited for until it closes: its kernel says
    then whether it read the answer.
    """

    __slots__ = ("_data", "is_answered", "owner", "peer", "port", "sock", "until")

    def __init__(self, sock: socket.socket, until: float) -> None:
        sock.setblocking(False)  # noqa: FBT003 - the flag's name is the function's
        self.sock = sock
        self.until = until
        self.peer = peer_of(sock)
        self.is_answered = False
        self.port = self.owner = 0
        self._data = b""

    def hear(self) -> "int | None":
        """Return the pid, or None while the line is not whole.

        Raises Garbage for what is no request; EOFError when the client has closed, or half its line is all there will
        be; ConnectionResetError when it has closed without reading its answer.
        """
        try:
            part = self.sock.recv(_AT_ONCE)
        except BlockingIOError:
            return None
        if not part:
            raise EOFError
        if self.is_answered:
            return None
        self._data += part
        return wire.read_request(self._data)

    @property
    def is_half_heard(self) -> bool:
        """Tell whether its line has begun and not ended."""
        return bool(self._data)

    def answer(self, port: int, owner: int = 0) -> None:
        """Say the port, or that there is none (0); OSError if the client is gone."""
        self.is_answered, self.port, self.owner, self._data = True, port, owner, b""
        self.sock.send(wire.answer(port))
        self.sock.shutdown(socket.SHUT_WR)  # for clients that read to the end

    def close(self) -> None:
        self.sock.close()


class Clients:
    """The clients of a server from accept to close; the one whose patience (in seconds) ends first comes first."""

    def __init__(self, epoll: "select.epoll", patience: float) -> None:
        self._epoll = epoll
        self._patience = patience
        self._by_fd: dict[int, Connection] = {}

    def __len__(self) -> int:
        return len(self._by_fd)

    def __iter__(self) -> "Iterator[Connection]":
        return iter(list(self._by_fd.values()))

    def get(self, fd: int) -> "Connection | None":
        """Return the client with this descriptor, if there is one."""
        return self._by_fd.get(fd)

    def add(self, sock: socket.socket) -> None:
        """Take in a client that was accepted, and listen to it."""
        self._by_fd[sock.fileno()] = Connection(sock, time.monotonic() + self._patience)
        self._epoll.register(sock, select.EPOLLIN)

    def have_patience(self, client: Connection) -> None:
        """Wait for this client once more, longer than for all others."""
        client.until = time.monotonic() + self._patience
        self._by_fd[client.sock.fileno()] = self._by_fd.pop(client.sock.fileno())

    def drop(self, client: Connection) -> None:
        """Close a client, and forget it."""
        del self._by_fd[client.sock.fileno()]
        self._epoll.unregister(client.sock)
        client.close()

    @property
    def until(self) -> float:
        """Return when the first patience ends."""
        return next((each.until for each in self._by_fd.values()), float("inf"))

    def oldest(self, uid: int) -> "Connection | None":
        """Return the one that has waited longest, of others than this user first; None if there is no client."""
        return next((each for each in self if each.peer[1] != uid), next(iter(self), None))
