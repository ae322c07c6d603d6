"""Ports of the pool lent to processes: given when they ask, taken back when they end."""

from anyport._ledger.record import unpack_process
from anyport._serve.owners import Owners, Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    import select
    from collections.abc import Iterable

    from anyport._serve.log import Log
    from anyport._serve.pool import Pool


class Lending:
    """Lends ports; `most` is how many descriptors there may be for the ends of processes and for what is held."""

    def __init__(self, pool: "Pool", log: "Log", epoll: "select.epoll", most: int) -> None:
        self._pool = pool
        self._log = log
        self._most = most
        self.owners = Owners(epoll)

    def recall(self) -> None:
        """Take over what an earlier server lent to processes that live."""
        self._log.recalled(self._pool.recall(self._adopt))

    def _adopt(self, owner: int) -> "bool | None":
        """Watch a process from an earlier server; False if it has ended, None if there is no descriptor for it."""
        return self.owners.adopt(owner) if len(self.owners) < self._most else None

    def lend(self, pid: int, peer: "tuple[int, int]") -> "tuple[int, int]":
        """Return (owner, port) for a process that this peer (pid, uid) asks for; Refused if it gets none."""
        if len(self.owners) + self._pool.descriptors >= self._most:
            raise Refused("no descriptor is left to watch its end: the limit is RLIMIT_NOFILE (`ulimit -n`)")
        owner = self.owners.check_in(pid, peer)
        port = self._pool.give(owner)
        if not port:
            self._forget_if_idle(owner)
            raise Refused(f"no number of the pool is unused, for process {pid}")
        return owner, port

    def undo(self, owner: int, port: int) -> None:
        """Take back a port that its process never heard of."""
        self._pool.take_one_back(owner, port)
        self._forget_if_idle(owner)

    def _forget_if_idle(self, owner: int) -> None:
        """Watch the process no longer if it has no port."""
        if owner not in self._pool.owned and owner in self.owners:
            self.owners.forget(owner)

    def take_back(self, fds: "Iterable[int]") -> None:
        """Take back, all in one stroke, what the processes of these descriptors had, which have ended."""
        ended = [self.owners.by_fd[fd] for fd in fds if fd in self.owners.by_fd]
        for owner, port in self._pool.take_back(ended):
            self._log.took_back(port, unpack_process(owner)[0])
        for owner in ended:
            self.owners.forget(owner)
