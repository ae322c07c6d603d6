"""Stands for the kernel behind a netlink socket: messages as it writes them, and answers of any kind."""

import struct
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from anyport._linux import netlink

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HEADER = struct.Struct("=IHHII")


def message(kind: int, payload: bytes, flags: int = 0, length: int | None = None) -> bytes:
    size = HEADER.size + len(payload) if length is None else length
    return (HEADER.pack(size, kind, flags, 1, 0) + payload).ljust((size + 3) & ~3, b"\0")


DONE = message(netlink.NLMSG_DONE, bytes(4))
INTERRUPTED = message(20, b"half", netlink.NLM_F_DUMP_INTR)


class Kernel:
    """Stands for the netlink socket: answers each request with the next datagrams, or errors."""

    def __init__(self, *answers: "Iterable[bytes | OSError]") -> None:
        self.answers = list(answers)
        self.datagrams: Iterator[bytes | OSError] = iter(())
        self.requests = self.opened = self.closed = self.received = 0
        self.patience = 0.0

    def socket(self, *_args: int) -> "Kernel":
        self.opened += 1
        return self

    def settimeout(self, seconds: float) -> None:
        assert 0 < seconds < 60
        self.patience = seconds

    def send(self, _request: bytes) -> None:
        self.requests += 1
        self.datagrams = iter(self.answers.pop(0) if self.answers else ())

    def recv(self, _size: int) -> bytes:
        self.received += 1
        assert self.patience, "it would wait without end"
        assert self.received < 1000, "it reads on and on"
        datagram = next(self.datagrams, TimeoutError("timed out"))
        if isinstance(datagram, OSError):
            raise datagram
        return datagram

    def recv_into(self, buffer: bytearray) -> int:
        datagram = self.recv(len(buffer))
        buffer[: len(datagram)] = datagram
        return len(datagram)

    def close(self) -> None:
        self.closed += 1


rows = st.builds(
    lambda family, rest: bytes([family]) + rest, st.sampled_from([2, 10]), st.binary(min_size=71, max_size=71)
)
