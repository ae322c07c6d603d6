"""serve: a portserver, which gives each process that asks a port of its own, until that process ends.

One thread and one epoll: connections, the ends of processes and signals come in turn, so no two requests are served at
once, and no lock is needed but the ledger's.  Nothing that a client does or fails to do is waited for.
"""

import os
import select
import time
from errno import EMFILE, ENFILE

from anyport._clock import boot_seconds
from anyport._ledger.record import unpack_process
from anyport._linux import signal, signalfd
from anyport._portserver.wire import Garbage
from anyport._serve.connection import Connection
from anyport._serve.log import Log
from anyport._serve.owners import Owners, Refused
from anyport._serve.pool import RENEW, SOON

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable, Sequence

    from anyport._serve.pool import Pool

PATIENCE = 10.0  # seconds for a client to send its line, and for one that was answered to close
_LAST = 1.0  # seconds for those that are being served when the server is told to stop
_STOP = (signal.SIGTERM, signal.SIGINT)
_SIGNALS = (*_STOP, signal.SIGUSR1)
_SPARE = 64  # descriptors that are left for everything but clients and what they are given
_CLIENTS = 2048  # at once, if there are descriptors for them and thrice as many processes
_AT_ONCE = 256  # clients that are taken in before others are served


class Server:
    """Serves on these sockets, which stay open, until it gets SIGTERM or SIGINT; on SIGUSR1 it tells its counts.

    `limit` is how many descriptors it may have.  When those for clients are used up, the one that has waited longest is
    dropped; when those for the ends of processes are, nobody gets a port until one ends.
    """

    def __init__(self, listeners: "Sequence[socket.socket]", pool: "Pool", log: Log, limit: int) -> None:
        self._pool = pool
        self._log = log
        self._most_clients = max(1, min((limit - _SPARE) // 4, _CLIENTS))
        self._most_given = limit - _SPARE - self._most_clients
        self._listeners = {sock.fileno(): sock for sock in listeners}
        self._connections: dict[int, Connection] = {}  # whose patience ends first comes first
        self._renew_at = boot_seconds() + RENEW  # the clock of the claims, which a sleeping machine does not stop
        self._stop_at = float("inf")
        self._epoll = select.epoll()
        self._owners = Owners(self._epoll)
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        self._signals = signalfd.signalfd(_SIGNALS)
        for fd in (*self._listeners, self._signals):
            self._epoll.register(fd, select.EPOLLIN)

    def run(self, when_ready: "Callable[[], None]") -> None:
        """Serve; `when_ready` is called once whoever asks gets an answer."""
        try:
            self._log.recalled(self._pool.recall(self._adopt))
            when_ready()
            while self._goes_on():
                self._serve(self._epoll.poll(self._pause()))
        finally:
            self._close()

    def _adopt(self, owner: int) -> "bool | None":
        """Watch a process from an earlier server; False if it has ended, None if there is no descriptor for it."""
        return self._owners.adopt(owner) if len(self._owners) < self._most_given else None

    def _goes_on(self) -> bool:
        """When it is told to stop, those that have said what they want still get it."""
        now = time.monotonic()
        return now < self._stop_at and (self._stop_at == float("inf") or any(self._unanswered()))

    def _unanswered(self) -> "Iterable[Connection]":
        return (each for each in self._connections.values() if not each.is_answered)

    def _pause(self) -> float:
        oldest = next(iter(self._connections.values()), None)
        until = min(self._stop_at, oldest.until if oldest else self._stop_at)
        look = SOON if self._pool.owned else float("inf")
        return max(0.0, min(until - time.monotonic(), self._renew_at - boot_seconds(), look))

    def _serve(self, events: "Sequence[tuple[int, int]]") -> None:
        # First: what is done for a client closes descriptors and opens others with the same numbers, and the end of one
        # process must not be taken for another's.
        self._take_back([self._owners.by_fd[fd] for fd, _ in events if fd in self._owners.by_fd])
        for fd, _ in events:
            if fd in self._connections:
                self._hear(self._connections[fd])
            elif fd in self._listeners:
                self._accept(self._listeners[fd])
            elif fd == self._signals:
                self._obey()
        now = time.monotonic()
        for late in [each for each in self._connections.values() if each.until <= now]:
            self._drop(late, "" if late.is_answered else f"no request within {PATIENCE:g} s")
        if boot_seconds() >= self._renew_at or self._pool.is_astray():
            self._renew_at = boot_seconds() + (RENEW if self._pool.renew() else SOON)

    def _obey(self) -> None:
        for each in signalfd.read(self._signals):
            if each.number in _STOP:
                self._stop_at = min(self._stop_at, time.monotonic() + _LAST)
                for sock in self._listeners.values():
                    self._accept(sock)
                    self._epoll.unregister(sock)
                self._listeners.clear()
            else:
                self._log.counts(len(self._owners), self._pool.given, self._pool.free)

    def _accept(self, listener: "socket.socket") -> None:
        for _ in range(_AT_ONCE):
            try:
                sock = listener.accept()[0]
            except BlockingIOError:
                return
            except OSError as error:  # ECONNABORTED: that one has gone; else somebody has to
                if error.errno in (EMFILE, ENFILE) and not self._drop_oldest():
                    time.sleep(0.01)  # the system as a whole is out of them, and none of those is ours
                return
            if len(self._connections) >= self._most_clients:
                self._drop_oldest()
            self._connections[sock.fileno()] = Connection(sock, time.monotonic() + PATIENCE)
            self._epoll.register(sock, select.EPOLLIN)

    def _drop_oldest(self) -> bool:
        """Of other users first: they get no port anyway, and shall not be in the way of those who do."""
        all_of_them = self._connections.values()
        oldest = next((each for each in all_of_them if each.peer[1] != self._owners.uid), next(iter(all_of_them), None))
        if oldest:
            self._drop(oldest, "too many clients at once" if not oldest.is_answered else "")
        return bool(oldest)

    def _hear(self, client: Connection) -> None:
        try:
            pid = client.hear()
        except EOFError:
            self._drop(client, "half a line" if client.is_half_heard else "")
        except ConnectionError:
            self._give_up(client)
        except Garbage:
            self._answer(client, 0, "no request of the protocol: a pid and a newline")
        else:
            if pid is not None:
                self._give(client, pid)

    def _give(self, client: Connection, pid: int) -> None:
        try:
            owner, port = self._port_for(pid, client.peer)
        except Refused as refused:
            self._answer(client, 0, str(refused))
        except OSError as error:
            self._answer(client, 0, f"no port for process {pid}: {error.strerror} (errno {error.errno})")
        else:
            self._log.gave(port, pid)
            self._answer(client, port, owner=owner)

    def _port_for(self, pid: int, peer: "tuple[int, int]") -> "tuple[int, int]":
        if len(self._owners) + self._pool.descriptors >= self._most_given:
            raise Refused("no descriptor is left to watch its end: the limit is RLIMIT_NOFILE (`ulimit -n`)")
        owner = self._owners.check_in(pid, peer)
        port = self._pool.give(owner)
        if not port:
            self._forget_if_idle(owner)
            raise Refused(f"no number of the pool is unused, for process {pid}")
        return owner, port

    def _answer(self, client: Connection, port: int, why: str = "", owner: int = 0) -> None:
        if why:
            self._log.refused(why)
        try:
            client.answer(port, owner)
        except OSError:
            self._give_up(client)
        else:  # now it is the one that will be waited for longest
            client.until = time.monotonic() + PATIENCE
            self._connections[client.sock.fileno()] = self._connections.pop(client.sock.fileno())

    def _give_up(self, client: Connection) -> None:
        """It is gone without having read what it was told."""
        self._pool.take_one_back(client.owner, client.port)
        self._forget_if_idle(client.owner)
        self._drop(client)

    def _forget_if_idle(self, owner: int) -> None:
        """Watch the process no longer if it has no port."""
        if owner not in self._pool.owned and owner in self._owners:
            self._owners.forget(owner)

    def _drop(self, client: Connection, why: str = "") -> None:
        if why:
            self._log.refused(why)
        del self._connections[client.sock.fileno()]
        self._epoll.unregister(client.sock)
        client.close()

    def _take_back(self, ended: "Sequence[int]") -> None:
        """What these processes had, all in one stroke."""
        for owner, port in self._pool.take_back(ended):
            self._log.took_back(port, unpack_process(owner)[0])
        for owner in ended:
            self._owners.forget(owner)

    def _close(self) -> None:
        """What was given stays claimed in the ledger as long as its process lives."""
        for client in list(self._connections.values()):
            self._drop(client)
        self._owners.close()
        self._epoll.close()
        os.close(self._signals)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
