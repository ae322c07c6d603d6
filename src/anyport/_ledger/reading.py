"""A look into the ledger by whoever asks for no port: without its lock, and without making one."""

import os

from anyport._clock import boot_microseconds
from anyport._ledger import place
from anyport._ledger.owner import is_claimed
from anyport._ledger.record import (
    SLOT,
    WHOLE,
    deadline_of,
    given_at,
    process_of,
    record_in,
    unpack_header,
    unpack_process,
)
from anyport._linux.sysctl import boot_word


def slots(namespace: int) -> bytes:
    """Return the whole ledger of this user for that network namespace; nothing if there is none, or it can't be read.

    Records are written whole (16 bytes in one call), so without the lock each by itself is right all the same.
    """
    path = place.existing(namespace)
    if path is None:
        return b""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return b""
    try:
        data = os.pread(fd, WHOLE, 0)
    except OSError:
        return b""
    finally:
        os.close(fd)
    return data.ljust(WHOLE, b"\0") if unpack_header(data[:SLOT], boot_word()) is not None else b""


def given(content: bytes, port: int) -> "tuple[float, float] | None":
    """Return the seconds since a port was given out, and until its claim ends; None if it has none, or a process's."""
    now = boot_microseconds()
    record = record_in(content, port)
    if process_of(record) or not is_claimed(record, now):
        return None
    return max(0, now - given_at(record)) / 1e6, (deadline_of(record) - now) / 1e6


def given_to(content: bytes, port: int) -> int:
    """Return the pid of the living process that a portserver gave the port to, or 0."""
    record = record_in(content, port)
    owner = process_of(record)
    return unpack_process(owner)[0] if owner and is_claimed(record, boot_microseconds()) else 0
