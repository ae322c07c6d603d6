"""An owner that is a process: what stands for it in the ledger, and whether it lives.

Unknown means alive: a claim is given up only on proof that its process is dead.
"""

import os

from anyport._ledger import record
from anyport._ledger.record import PROCESS, pack_process, process_of, unpack_process


def owner_of(pid: int) -> "int | None":
    """Return the owner field for a process; None if it has ended, or /proc does not show it."""
    from anyport._linux import proc  # no plain `anyport` needs it

    found = proc.stat(pid)
    return None if found is None or found.has_ended else pack_process(pid, found.started, _namespace())


def lives(owner: int) -> bool:
    """Tell whether the process that this field stands for has not ended; True for one of another pid namespace."""
    from anyport._linux import proc

    if not is_seen_here(owner):
        return True
    pid, started, _ = unpack_process(owner)
    found = proc.stat(pid)
    if found is None:
        return proc.is_there(pid)
    return found.started & 0xFFFFFFFF == started and not found.has_ended


def is_seen_here(owner: int) -> bool:
    """Tell whether the process that this field stands for is, or was, of our own pid namespace."""
    namespace = unpack_process(owner)[2]
    return namespace != 0 and namespace == _namespace()


def is_claimed(data: bytes, now: int, name: int = 0) -> bool:
    """Tell whether the record is a claim at `now` whose owner lives, and not one by this name (0: nobody's)."""
    return record.is_claimed(data, now, name) and (data[0] != PROCESS or lives(process_of(data)))


def _namespace() -> int:
    """Return some bits of the numbers of our pid and time namespace, never 0; 0 where /proc does not show them.

    In another time namespace /proc shows another start of the same process (time_namespaces(7)).
    """
    try:
        return (os.stat("/proc/self/ns/pid").st_ino + 31 * _time_namespace()) % 1023 + 1
    except OSError:
        return 0


def _time_namespace() -> int:
    try:
        return os.stat("/proc/self/ns/time").st_ino
    except FileNotFoundError:  # before Linux 5.6
        return 0
