"""A row of the socket table: plain values, whichever source they come from."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    class Row(NamedTuple):
        """One socket.

        `state` is the kernel's name, or BOUND for one that is bound and neither listens nor is connected.  `inode` is
        0 where no process has the socket: it has closed it (TIME_WAIT, orphans), or has not accepted it yet; `uid` is
        None where the kernel has 0 for such a one, which may be anybody's.  `v6only` is told by sock_diag only, of
        sockets that are bound or listen.  `interface` is the index of the one that the socket is bound to, or 0, and
        `user` None: nobody has looked up their names.  `seconds_left` is what is left of TIME_WAIT, and of FIN_WAIT2
        without a process.
        """

        protocol: str
        address: str
        port: int
        remote_address: str | None
        remote_port: int | None
        state: str
        uid: int | None
        inode: int
        seconds_left: float | None = None
        v6only: bool = False
        interface: int = 0
        user: None = None
        cookie: bytes = b""

else:
    # The same without `typing`, which costs 3 ms at every start of `anyport run`, and quick to make by the thousands.
    from _operator import itemgetter

    class Row(tuple):
        """One socket."""

        __slots__ = ()

        _make = classmethod(tuple.__new__)

        def __new__(cls, *fields: object) -> "Row":  # noqa: PYI034 - of no subclass
            """All fields, or the first eight and the defaults of the rest."""
            return tuple.__new__(cls, fields + (None, False, 0, None, b"")[len(fields) - 8 :])

    for _at, _name in enumerate((
        "protocol", "address", "port", "remote_address", "remote_port", "state", "uid", "inode",
        "seconds_left", "v6only", "interface", "user", "cookie",
    )):  # fmt: skip
        setattr(Row, _name, property(itemgetter(_at)))
