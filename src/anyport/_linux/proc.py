"""proc_pid(5): which processes have a socket, what they are called, and who started them."""

import os

from anyport._linux.sysctl import read_whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

PF_FORKNOEXEC = 0x40  # include/linux/sched.h: "forked but didn't exec"

_ENDED = ("Z", "X", "x")  # states of a process whose end nobody has taken note of yet (proc_pid_stat(5))


class Stat:
    """What proc_pid_stat(5) says of a process: state (a letter), parent, session, whether it has called exec itself.

    It also says when the process started, in clock ticks since the machine booted, and how many threads it has.
    """

    __slots__ = ("has_execed", "parent", "session", "started", "state", "threads")

    def __init__(  # noqa: PLR0913, PLR0917 - in the order of the line
        self, state: str, parent: int, session: int, flags: int, threads: int, started: int
    ) -> None:
        self.state = state
        self.parent = parent
        self.session = session
        self.has_execed = not flags & PF_FORKNOEXEC
        self.threads = threads
        self.started = started

    @property
    def has_ended(self) -> bool:
        """Tell whether it has ended; not while it has other threads, for its state is Z then, too (pthread_exit(3))."""
        return self.state in _ENDED and self.threads <= 1


def stat(pid: int) -> "Stat | None":
    """Return what /proc says of a process; None if it is gone, or /proc does not show it."""
    try:
        text = read_whole(f"/proc/{pid}/stat")
    except OSError:
        return None
    return parse_stat(text)


def parse_stat(text: bytes) -> "Stat | None":
    """Read a line of proc_pid_stat(5), whose name may hold spaces and parentheses; None for what is no such line."""
    words = text[text.rfind(b")") + 1 :].split()
    try:
        parent, session, flags, threads, started = (int(words[at]) for at in (1, 3, 6, 17, 19))
        return Stat(words[0].decode("ascii"), parent, session, flags, threads, started)
    except (IndexError, ValueError):
        return None


def descendants(pid: int) -> "list[int]":
    """Return the living descendants of a process, the nearest first, without those it lost to another parent."""
    children = _children if os.path.exists("/proc/thread-self/children") else _children_by_stat()
    found: list[int] = []
    todo = [pid]
    while todo:
        for child in children(todo.pop(0)):
            if child not in found:  # numbers may be used again while we look
                found.append(child)
                todo.append(child)
    return found


def _children(pid: int) -> "Iterator[int]":
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return
    for thread in threads:
        try:
            text = read_whole(f"/proc/{pid}/task/{thread}/children")
        except OSError:
            continue
        yield from map(int, text.split())


def _children_by_stat() -> "Callable[[int], list[int]]":
    """Return what tells the children of a process without CONFIG_PROC_CHILDREN: all processes name their parents."""
    by_parent: dict[int, list[int]] = {}
    for pid in _pids():
        if found := stat(pid):
            by_parent.setdefault(found.parent, []).append(pid)
    return lambda pid: by_parent.get(pid, [])


def in_sessions(leaders: "set[int]") -> "set[int]":
    """Return the processes of the sessions that these made, whether they still live or not."""
    return {pid for pid in _pids() if (found := stat(pid)) and found.session in leaders}


def socket_inodes(pid: int) -> "set[int]":
    """Return the sockets that a process has open; none if it is gone, or may not be looked at."""
    links = (link for link in _descriptors(pid) if link.startswith("socket:["))
    return {int(link[8:-1]) for link in links}


def tree_inodes(pid: int) -> "set[int]":
    """Return the sockets of a process and all its descendants, as far as they may be seen."""
    return {inode for each in (pid, *descendants(pid)) for inode in socket_inodes(each)}


def inodes_of_tree() -> "set[int]":
    """Return the sockets of all descendants of this process, as far as they may be seen."""
    return {inode for pid in descendants(os.getpid()) for inode in socket_inodes(pid)}


def socket_owners(inodes: "set[int]", pids: "Iterable[int] | None" = None) -> "dict[int, list[tuple[int, str]]]":
    """Return (pid, name) of each process (or of these) that has one of these sockets, by inode; others' stay unseen.

    Without CAP_SYS_PTRACE a process sees the descriptors of its own user's processes only.
    """
    wanted = {f"socket:[{inode}]": inode for inode in inodes if inode}
    owners: dict[int, list[tuple[int, str]]] = {}
    if wanted:
        for pid in _pids() if pids is None else pids:
            found = {wanted[link] for link in _descriptors(pid) if link in wanted}
            owner = (pid, comm(pid) if found else "")
            for inode in found:
                owners.setdefault(inode, []).append(owner)
    return owners


def is_ours() -> bool:
    """Tell whether /proc is mounted, and that of our pid namespace: then its numbers are those that we know."""
    try:
        return os.readlink("/proc/self") == str(os.getpid())
    except OSError:
        return False


def unseen() -> str:
    """Say why /proc does not show whose sockets all are, which takes CAP_SYS_PTRACE; nothing if it does."""
    if not is_ours():
        return "none, or under other numbers: /proc is not mounted here, or is another pid namespace's"
    if not os.path.exists("/proc/1") and is_there(1):
        return "only those of this user: /proc is mounted with hidepid"
    if all(map(may_look_into, _pids())):
        return ""
    if os.geteuid():
        return "only those of this user: root sees all"
    return "not all: that takes CAP_SYS_PTRACE, and no policy against it"


def may_look_into(pid: int) -> bool:
    """Tell whether /proc shows the descriptors of a process; True, too, if it has none or has ended."""
    try:
        for path in _descriptor_paths(pid)[:1]:
            os.readlink(path)  # a sandbox may allow the list, and not this
    except PermissionError:
        return False
    except OSError:
        return True
    return True


def is_there(pid: int) -> bool:
    """Tell whether there is such a process, which /proc does not show if it is mounted with hidepid (kill(2))."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


def status(tid: int, name: str) -> str:
    """Return a field of proc_pid_status(5), of a process or a thread; OSError if it is gone."""
    for line in read_whole(f"/proc/{tid}/status").decode("utf-8", "replace").splitlines():
        found, _, value = line.partition(":")
        if found == name:
            return value.strip()
    raise ProcessLookupError(f"/proc/{tid}/status has no {name}")


def comm(pid: int) -> str:
    """Return the name of a process, at most 15 bytes, or an empty text if it is gone."""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def cmdline(pid: int) -> "tuple[str, ...]":
    """Return what a process was started with, unless it wrote something else there (proc_pid_cmdline(5)).

    Empty if it is gone, or has nothing to be seen.
    """
    try:
        text = read_whole(f"/proc/{pid}/cmdline").decode("utf-8", "replace")
    except OSError:
        return ()
    # A process that writes a title there (sshd, nginx, postgres) pads it with NULs.
    return tuple(text.rstrip("\0").split("\0")) if text.strip("\0") else ()


def _pids() -> "list[int]":
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    except OSError:
        return []


def _descriptors(pid: int) -> "Iterator[str]":
    try:
        paths = _descriptor_paths(pid)
    except OSError:  # gone, or another user's
        return
    for path in paths:
        try:
            yield os.readlink(path)
        except OSError:  # closed meanwhile
            continue


def _descriptor_paths(pid: int) -> "list[str]":
    """Return what /proc/PID/fd has; OSError if the process is gone, or may not be looked into.

    A process whose first thread has ended shows nothing there, and not even that to its user, but in its other threads.
    """
    try:
        return _listed(f"/proc/{pid}/fd") or _of_thread(pid)
    except PermissionError:
        if paths := _of_thread(pid):
            return paths
        raise


def _of_thread(pid: int) -> "list[str]":
    """Return what /proc shows of the descriptors of a thread that is not the first of its process."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        if paths := _listed(f"/proc/{pid}/task/{thread}/fd") if int(thread) != pid else []:
            return paths
    return []


def _listed(folder: str) -> "list[str]":
    return [f"{folder}/{name}" for name in os.listdir(folder)]
