"""proc_pid(5): which processes have a socket, and what they are called."""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def socket_owners(inodes: "set[int]") -> "dict[int, list[tuple[int, str]]]":
    """The (pid, name) of each process that has one of these sockets, by inode; those of others stay unseen.

    Without CAP_SYS_PTRACE a process sees the descriptors of its own user's processes only.
    """
    wanted = {f"socket:[{inode}]": inode for inode in inodes if inode}
    owners: dict[int, list[tuple[int, str]]] = {}
    if wanted:
        for pid in _pids():
            for inode in {wanted[link] for link in _descriptors(pid) if link in wanted}:
                owners.setdefault(inode, []).append((pid, comm(pid)))
    return owners


def comm(pid: int) -> str:
    """The name of a process, at most 15 bytes, or an empty text if it is gone."""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def _pids() -> "list[int]":
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    except OSError:
        return []


def _descriptors(pid: int) -> "Iterator[str]":
    folder = f"/proc/{pid}/fd"
    try:
        names = os.listdir(folder)
    except OSError:  # gone, or another user's
        return
    for name in names:
        try:
            yield os.readlink(f"{folder}/{name}")
        except OSError:  # closed meanwhile
            continue
