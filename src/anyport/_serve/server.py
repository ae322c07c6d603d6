"""serve: a portserver, which gives each process that asks a port of its own, until that process ends.

One thread and one epoll: connections, the ends of processes and signals come in turn, so no two requests are served at
once, and no lock is needed but the ledger's.  Nothing that a client does or fails to do is waited for.
"""

import os
import select
import time
from errno import EMFILE, ENFILE

from anyport._clock import boot_seconds
from anyport._linux import signal, signalfd
from anyport._portserver.wire import Garbage
from anyport._serve.connection import Clients
from anyport._serve.lending import Lending
from anyport._serve.log import Log
from anyport._serve.owners import Refused
from anyport._serve.pool import RENEW, SOON

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from anyport._serve.connection import Connection
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
        self._listeners = {sock.fileno(): sock for sock in listeners}
        self._renew_at = boot_seconds() + RENEW  # the clock of the claims, which a sleeping machine does not stop
        self._stop_at = float("inf")
        self._epoll = select.epoll()
        self._clients = Clients(self._epoll, PATIENCE)
        self._lending = Lending(pool, log, self._epoll, limit - _SPARE - self._most_clients)
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        self._signals = signalfd.signalfd(_SIGNALS)
        for fd in (*self._listeners, self._signals):
            self._epoll.register(fd, select.EPOLLIN)

    def run(self, when_ready: "Callable[[], None]") -> None:
        """Serve; `when_ready` is called once whoever asks gets an answer."""
        try:
            self._lending.recall()
            when_ready()
            while self._goes_on():
                self._serve(self._epoll.poll(self._pause()))
        finally:
            self._close()

    def _goes_on(self) -> bool:
        """Tell whether to go on; when it is told to stop, those that have said what they want still get it."""
        now = time.monotonic()
        return now < self._stop_at and (
            self._stop_at == float("inf") or not all(each.is_answered for each in self._clients)
        )

    def _pause(self) -> float:
        until = min(self._stop_at, self._clients.until)
        look = SOON if self._pool.owned else float("inf")
        return max(0.0, min(until - time.monotonic(), self._renew_at - boot_seconds(), look))

    def _serve(self, events: "Sequence[tuple[int, int]]") -> None:
        # First: what is done for a client closes descriptors and opens others with the same numbers, and the end of one
        # process must not be taken for another's.
        self._lending.take_back(fd for fd, _ in events)
        for fd, _ in events:
            if client := self._clients.get(fd):
                self._hear(client)
            elif fd in self._listeners:
                self._accept(self._listeners[fd])
            elif fd == self._signals:
                self._obey()
        now = time.monotonic()
        for late in (each for each in self._clients if each.until <= now):
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
                self._log.counts(len(self._lending.owners), self._pool.given, self._pool.free)

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
            if len(self._clients) >= self._most_clients:
                self._drop_oldest()
            self._clients.add(sock)

    def _drop_oldest(self) -> bool:
        """Drop the oldest client, another user's first: they get no port anyway, and shall be in nobody's way."""
        oldest = self._clients.oldest(self._lending.owners.uid)
        if oldest:
            self._drop(oldest, "too many clients at once" if not oldest.is_answered else "")
        return bool(oldest)

    def _hear(self, client: "Connection") -> None:
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

    def _give(self, client: "Connection", pid: int) -> None:
        try:
            owner, port = self._lending.lend(pid, client.peer)
        except Refused as refused:
            self._answer(client, 0, str(refused))
        except OSError as error:
            self._answer(client, 0, f"no port for process {pid}: {error.strerror} (errno {error.errno})")
        else:
            self._log.gave(port, pid)
            self._answer(client, port, owner=owner)

    def _answer(self, client: "Connection", port: int, why: str = "", owner: int = 0) -> None:
        if why:
            self._log.refused(why)
        try:
            client.answer(port, owner)
        except OSError:
            self._give_up(client)
        else:
            self._clients.have_patience(client)

    def _give_up(self, client: "Connection") -> None:
        """Take back the port of a client that is gone without having read what it was told."""
        self._lending.undo(client.owner, client.port)
        self._drop(client)

    def _drop(self, client: "Connection", why: str = "") -> None:
        if why:
            self._log.refused(why)
        self._clients.drop(client)

    def _close(self) -> None:
        """Close everything; what was given stays claimed in the ledger as long as its process lives."""
        for client in self._clients:
            self._drop(client)
        self._lending.owners.close()
        self._epoll.close()
        os.close(self._signals)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
