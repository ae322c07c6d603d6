"""What is known of a port that can't be had: plain values, and how they are written."""

from typing import NamedTuple

from anyport._pair import pair


class Process(NamedTuple):
    """A process that has a socket open: its pid and its name."""

    pid: int
    name: str

    def __str__(self) -> str:
        return f"{self.name or '?'} (pid {self.pid})"


class Occupant(NamedTuple):
    """A socket that has a port.

    `state` is the kernel's name (LISTEN, ESTABLISHED, TIME_WAIT, ...), or BOUND for a socket that is bound and does
    not listen.  `processes` holds those that the caller may see, which need not be all, or any.
    """

    protocol: str
    address: str
    port: int
    state: str
    uid: int
    processes: tuple[Process, ...]

    def __str__(self) -> str:
        where = f"{self.state} on {pair(self.address, self.port)}"
        if self.processes:
            return f"{where}, {', '.join(map(str, self.processes))}"
        if self.state == "TIME_WAIT":
            return f"{where}, left over from a connection"
        return f"{where}, uid {self.uid}, its process can't be seen"


class Refusal(NamedTuple):
    """A number that was tried and refused: where, by which errno, why in words, and the sockets that have it.

    `occupants` holds what can be seen; it is empty when the cause is another one, or can't be seen.
    """

    port: int
    protocol: str
    address: str
    errno: int
    reason: str
    occupants: tuple[Occupant, ...]

    def __str__(self) -> str:
        return f"{self.port}/{self.protocol} is {self.reason}"
