"""A row of the socket table, and what is made of it: plain values, whichever source they come from.

A long table is made fast, and `typing`, which `NamedTuple` takes, costs 3 ms at every start of `anyport run`.  So a row
is a tuple, made by C code alone, whose fields are declared below, once, in their order.  Whoever wants something else
of each socket has it made at once by a RowMaker: a tuple that begins with the first ten fields of a Row.
"""

from _operator import itemgetter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, Self


def _field(at: int) -> "Any":  # noqa: ANN401 - each has its own type
    return property(itemgetter(at))


class Row(tuple[object, ...]):
    """One socket.

    `state` is the kernel's name, or BOUND for one that is bound and neither listens nor is connected.  `inode` is 0
    where no process has the socket: it has closed it (TIME_WAIT, orphans), or has not accepted it yet; `uid` is None
    where the kernel has 0 for such a one, which may be anybody's.  `seconds_left` is what is left of TIME_WAIT, and of
    FIN_WAIT2 without a process.  `v6only` is told by sock_diag only, of sockets that are bound or listen.  `interface`
    is the index of the one that the socket is bound to, or 0, and `user` None: nobody has looked up their names.
    """

    __slots__ = ()

    protocol: str = _field(0)
    address: str = _field(1)
    port: int = _field(2)
    remote_address: "str | None" = _field(3)
    remote_port: "int | None" = _field(4)
    state: str = _field(5)
    uid: "int | None" = _field(6)
    inode: int = _field(7)
    seconds_left: "float | None" = _field(8)
    v6only: bool = _field(9)
    interface: int = _field(10)
    user: None = _field(11)
    cookie: bytes = _field(12)

    def __new__(  # noqa: PLR0913 - a record; every field is one
        cls, protocol: str, address: str, port: int, *, remote_address: "str | None", remote_port: "int | None",
        state: str, uid: "int | None", inode: int, seconds_left: "float | None" = None,
    ) -> "Self":  # fmt: skip
        """Make a row of what every source tells."""
        fields = protocol, address, port, remote_address, remote_port, state, uid, inode, seconds_left
        return super().__new__(cls, (*fields, False, 0, None, b""))


def constructor(kind: "type[Any]") -> "Callable[[Iterable[object]], Any]":
    """Return what makes this kind of tuple of its fields, in half of the time that a namedtuple's own one takes."""
    new: Any = tuple.__new__  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return classmethod(new).__get__(None, kind)


class RowMaker:
    """Says what is made of each socket of a table: `new` makes it of a tuple with the fields of a Row, in their order.

    In the place of the index of an interface, and of None for a user, that tuple has what `interfaces` has for the
    index, and `users` for the uid; in the place of the cookie nothing (an empty tuple), unless it `has_cookie`.
    """

    __slots__ = ("has_cookie", "interfaces", "new", "users")

    def __init__(
        self,
        new: "Callable[[Iterable[object]], Any]",
        interfaces: "Mapping[int, Any]",
        users: "Mapping[int | None, Any]",
        *,
        has_cookie: bool,
    ) -> None:
        self.new = new
        self.interfaces = interfaces
        self.users = users
        self.has_cookie = has_cookie

    def of(self, row: Row) -> "Any":  # noqa: ANN401 - what `new` makes
        """Make it of a row that is there already."""
        return self.new((
            row.protocol, row.address, row.port, row.remote_address, row.remote_port, row.state, row.uid, row.inode,
            row.seconds_left, row.v6only, self.interfaces[row.interface], self.users[row.uid],
            row.cookie if self.has_cookie else (),
        ))  # fmt: skip


class _Same(dict[int, int]):
    """Each index is its own name."""

    def __missing__(self, index: int) -> int:
        self[index] = index
        return index


class _Nothing(dict["int | None", None]):
    """Nobody has a name."""

    def __missing__(self, uid: "int | None") -> None:
        self[uid] = None


ROWS = RowMaker(constructor(Row), _Same(), _Nothing(), has_cookie=True)
