"""The processes that a portserver gave ports to: who may have one, and when each of them has ended."""

import os
import select

from anyport._ledger.owner import lives, owner_of
from anyport._ledger.record import unpack_process
from anyport._linux import pidfd, proc
from anyport._processes import INIT, is_of_inits_session


class Refused(Exception):
    """This request gets no port; the reason is for whoever runs the server."""


class Owners:
    """Each process by the field that stands for it in the ledger, with a descriptor that is readable when it has ended.

    That is a pidfd (pidfd_open(2)): a pid that is used again is not taken for the process that had it before.
    """

    def __init__(self, epoll: "select.epoll") -> None:
        self._epoll = epoll
        self._fds: dict[int, int] = {}
        self.uid = os.geteuid()
        self._netns = _network_namespace(os.getpid())
        self.by_fd: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._fds)

    def __contains__(self, owner: int) -> bool:
        return owner in self._fds

    def check_in(self, pid: int, peer: "tuple[int, int]") -> int:
        """Return the owner field of a process that the peer (pid, uid) wants a port for; from now on it is watched."""
        peer_pid, peer_uid = peer
        if peer_uid != self.uid:
            raise Refused(f"process {peer_pid} is uid {peer_uid}'s, and this server is for uid {self.uid}")
        pid = self._as_we_count(pid, peer_pid)
        if pid < 1 or (pid == INIT and not is_of_inits_session(peer_pid)):
            raise Refused(f"a port for process {pid}: most likely the parent that was meant has ended")
        fd = _open(pid)
        try:
            owner = owner_of(pid)
            # If it has not ended by now, all that /proc said of this number was about the process that we watch.
            self._check(pid, peer_uid, fd)
        except BaseException:
            os.close(fd)
            raise
        if owner is None:  # it can be watched, and is not to be seen
            os.close(fd)
            raise Refused(f"/proc does not show process {pid}")
        self._watch(owner, fd)
        return owner

    def _as_we_count(self, pid: int, peer_pid: int) -> int:
        """Return the pid of a process that a client in another pid namespace (a container) knows by another number.

        Of those only the client itself can be told, by the kernel; proc_pid_status(5) says what it calls itself.
        """
        try:
            numbers = proc.status(peer_pid, "NSpid").split() if peer_pid else []
        except OSError:  # it has ended, or /proc does not show it
            return pid
        if len(numbers) == 1:
            return pid
        if numbers and int(numbers[-1]) == pid:
            return peer_pid
        raise Refused(
            f"a client in another pid namespace asked for process {pid} of that namespace, and can only ask for itself"
        )

    def _check(self, pid: int, uid: int, fd: int) -> None:
        try:
            owned_by = int(proc.status(pid, "Uid").split()[0])
        except OSError:
            raise Refused(f"process {pid} has ended, or /proc does not show it") from None
        if owned_by != uid:
            raise Refused(f"process {pid} is uid {owned_by}'s, and uid {uid} asked for it")
        if self._netns and _network_namespace(pid) not in (0, self._netns):
            raise Refused(f"process {pid} is in another network namespace, where these ports mean nothing")
        if pidfd.has_ended(fd):
            raise Refused(f"process {pid} has ended")

    def adopt(self, owner: int) -> bool:
        """Watch a process that an earlier server gave a port to; False if it has ended."""
        try:
            fd = _open(unpack_process(owner)[0])
        except Refused:
            return False
        if not lives(owner):
            os.close(fd)
            return False
        self._watch(owner, fd)
        return True

    def _watch(self, owner: int, fd: int) -> None:
        if owner in self._fds:
            os.close(fd)
            return
        self._epoll.register(fd, select.EPOLLIN)
        self._fds[owner] = fd
        self.by_fd[fd] = owner

    def forget(self, owner: int) -> None:
        """Watch a process no longer, which has ended, or has no port any more."""
        fd = self._fds.pop(owner)
        del self.by_fd[fd]
        self._epoll.unregister(fd)
        os.close(fd)

    def close(self) -> None:
        for owner in list(self._fds):
            self.forget(owner)


def _open(pid: int) -> int:
    try:
        fd = pidfd.open_process(pid)
    except OverflowError:
        raise Refused(f"{pid} is no pid") from None
    if fd is None:
        raise Refused(f"there is no process {pid}")
    return fd


def _network_namespace(pid: int) -> int:
    """Return what a process's network namespace is known by while it is there; 0 where that can't be seen."""
    try:
        return os.stat(f"/proc/{pid}/ns/net").st_ino
    except OSError:
        return 0
