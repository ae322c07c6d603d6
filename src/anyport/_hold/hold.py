"""hold: a port that the kernel keeps for the caller, until the program that needs it has it."""

import socket
import sys
import threading
import warnings
from contextlib import contextmanager

from anyport._find.find import warn
from anyport._find.found import answer
from anyport._find.selection import select_many, select_one
from anyport._hold.door import forget_reuseport, open_door, shut_door
from anyport.errors import HandOverUnavailable, InvalidSelection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import Any, Self, Unpack

    from anyport._find.found import Answer
    from anyport._find.selection import ManyOptions, OneOptions


def no_constructor(kind: type) -> TypeError:
    """Return the error for whoever calls this class: its objects have something that a function has to get first."""
    return TypeError(f"{kind.__name__} has no public constructor: call anyport.hold(), hold_many() or run()")


class _Releasable:
    """Something that a function has made, and that the end of a `with` block releases."""

    def __init__(self, *_args: object, **_kwargs: object) -> None:
        raise no_constructor(type(self))

    def release(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> "Self":
        return self

    def __exit__(
        self, kind: "type[BaseException] | None", error: "BaseException | None", trace: "TracebackType | None"
    ) -> None:
        self.release()


class Hold(_Releasable):
    """A port held by sockets that are bound and don't listen; made by `anyport.hold`, ended by `release`.

    It is no server: a client that connects is refused until a program listens (a UDP hold swallows datagrams).  It
    lasts as long as any copy of its sockets: a child made by fork holds the port too, until it ends, or calls
    `release`, which closes that process's copies only.  A program started by exec has none of them, but by `inherit`.

    Attributes: `port` (int); `exclusive` (bool).
    """

    port: int
    exclusive: bool
    _sockets: "list[socket.socket]"
    _inside: int  # of how many blocks of `handing_over`
    _mutex: threading.Lock

    @classmethod
    def made(cls, port: int, sockets: "list[socket.socket]", *, exclusive: bool) -> "Self":
        """Return the hold of a port by these sockets; `anyport.hold` gets them."""
        self = cls.__new__(cls)
        self.port = port
        self.exclusive = exclusive
        self._sockets = sockets
        self._inside = 0
        self._mutex = threading.Lock()
        return self

    @property
    def sockets(self) -> "tuple[socket.socket, ...]":
        """Return the sockets that hold the port, one for each address and protocol asked for; none after `release`."""
        return tuple(self._sockets)

    @contextmanager
    def handing_over(self) -> "Generator[Self]":
        """Open the door of an exclusive hold within the block: a program that sets SO_REUSEADDR may bind and listen.

        Within the block any such program of any user may, so keep it short; but the program must have called listen
        before it ends, or its listen is refused (EADDRINUSE).  A server that sets SO_REUSEPORT as well and listens
        everywhere lets others of the same user in who set that too, as it asked for.  On a hold that is not exclusive
        the door is open anyway.
        """
        self._move_door(1)
        try:
            yield self
        finally:
            self._move_door(-1)

    def _move_door(self, step: int) -> None:
        with self._mutex:  # of several blocks, in several threads, the first opens and the last shuts
            self._inside += step
            if self.exclusive and self._inside:
                open_door(self._sockets)
            elif self.exclusive:
                if any(sock.type == socket.SOCK_STREAM for sock in self._sockets):
                    forget_reuseport(self.port)
                shut_door(self._sockets)

    def listen(self, backlog: "int | None" = None) -> socket.socket:
        """Turn the hold's TCP socket into a listening one and give it to the caller, who closes it.

        There is no gap: it is the same socket.  It listens on what was held: without `host` on every address, IPv4 and
        IPv6.  SO_REUSEADDR is set once it listens, so that the next server can have the port right after it.

        Args:
            backlog: how many connections may wait (default: what `socket.listen` takes).

        Raises:
            HandOverUnavailable: the hold has no TCP socket, several (on several addresses: call `listen` on each of
                `sockets`), or was released.
            OSError: another program listens already (EADDRINUSE): it came in by the open door.
        """
        streams = [sock for sock in self._sockets if sock.type == socket.SOCK_STREAM]
        self._check_held()
        if len(streams) != 1:
            raise HandOverUnavailable(
                f"the hold of port {self.port} has {len(streams)} TCP sockets, and listen takes exactly one",
                hint="with several, call listen() on each of its sockets" if streams else "hold it for TCP",
            )
        sock = streams[0]
        if backlog is None:
            sock.listen()
        else:
            sock.listen(backlog)
        open_door([sock])
        self._sockets.remove(sock)
        return sock

    def inherit(self, command: "Sequence[str]", *, env: "Mapping[str, str] | None" = None) -> "dict[str, Any]":
        """Return arguments for `subprocess.Popen` that start a program with this port by socket activation.

        `subprocess.Popen(**held.inherit(["gunicorn", "app:app"]))`: the program gets the sockets as descriptors from 3
        on, TCP ones listening, and LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES in its environment (sd_listen_fds(3)).
        Whether it takes them is up to the program; connections wait for it in the queue.  They would go on waiting
        after its end, so release the hold once the program has started.

        Args:
            command: the program and its arguments.
            env: its environment (default: the caller's).

        Raises HandOverUnavailable after `release`.
        """
        from anyport._hold.activation import launcher

        if isinstance(command, str) or not command:
            raise InvalidSelection(
                f"{command!r} is no list of a program and its arguments", hint='["gunicorn", "app:app"]'
            )
        self._check_held()
        for sock in self._sockets:
            if sock.type == socket.SOCK_STREAM:
                sock.listen()
        fds = [sock.fileno() for sock in self._sockets]
        found: dict[str, Any] = {"args": [*launcher(fds, [str(self.port)] * len(fds)), *command], "pass_fds": fds}
        return found if env is None else {**found, "env": dict(env)}

    def _check_held(self) -> None:
        if not self._sockets:
            raise HandOverUnavailable(
                f"nothing is held of port {self.port} any more: it was released, or listen() gave the socket away",
                hint="hold it again",
            )

    def release(self) -> None:
        """Close the sockets.  The port is nobody's then, unless a program that was let in has it, or a forked child.

        A second call does nothing.
        """
        while self._sockets:
            self._sockets.pop().close()

    def __del__(self) -> None:
        if getattr(self, "_sockets", None):
            if not sys.is_finalizing():
                text = f"the hold of port {self.port} was dropped without release"
                warnings.warn(text, ResourceWarning, stacklevel=2, source=self)
            self.release()

    def __repr__(self) -> str:
        return f"<Hold of port {self.port}{'' if self._sockets else ', released'}>"


class Holds(_Releasable):
    """Several holds, in the order of their labels; made by `anyport.hold_many`, ended together by `release`."""

    _holds: "tuple[Hold, ...]"

    @classmethod
    def made(cls, holds: "Iterable[Hold]") -> "Self":
        """Return these holds as one; `anyport.hold_many` gets them."""
        self = cls.__new__(cls)
        self._holds = tuple(holds)
        return self

    @property
    def ports(self) -> "list[int]":
        """Return the numbers, in the order of the labels."""
        return [each.port for each in self._holds]

    def release(self) -> None:
        """Release each of them."""
        for each in self._holds:
            each.release()

    def __getitem__(self, index: int) -> Hold:
        return self._holds[index]

    def __iter__(self) -> "Iterator[Hold]":
        return iter(self._holds)

    def __len__(self) -> int:
        return len(self._holds)

    def __repr__(self) -> str:
        return f"<Holds of ports {', '.join(map(str, self.ports))}>"


def hold(
    port: "int | Iterable[int] | None" = None, *, exclusive: bool = False, **options: "Unpack[OneOptions]"
) -> Hold:
    """Find an unused port and keep it: the kernel gives it to nobody, until `release` or the end of a `with` block.

    A program that sets SO_REUSEADDR, which nearly all servers do, may bind and listen while the hold lasts: that is how
    yours gets it.  It may be anybody's, any user's.  With `exclusive` nobody may, but inside `Hold.handing_over()`.
    For UDP inside the ephemeral range, a bind of port 0 or a connect with SO_REUSEADDR may draw it, unless exclusive.
    A program that sets no SO_REUSEADDR can't have a held port: `release` it, or use `listen` or `inherit`.

    Args:
        port: a number, or several, to try first (1-65535).
        exclusive: keep out those with SO_REUSEADDR too.
        options: the others of `find`, from `only` to `strict`.

    Raises:
        The errors of `find`.

    Warns:
        AnyportWarning: as `find` does.
        ResourceWarning: the hold was dropped without release.

    The rules of bind: socket(7), ip(7) and net/ipv4/inet_connection_sock.c.
    """
    selection = select_one("hold", port, options)
    return _held(answer(selection, warn, hold=True), exclusive=exclusive)[0]


def hold_many(
    count: "int | None" = None,
    *,
    port: "int | Iterable[int] | None" = None,
    exclusive: bool = False,
    **options: "Unpack[ManyOptions]",
) -> Holds:
    """Find and keep several different unused ports, all or none.

    What it promises, and what not, is what `hold` does; see there.

    Args:
        count: how many (1-65535; default: as many as labels in `as_`, else 1).
        port: a number, or several, to try first (1-65535).
        exclusive: keep out those with SO_REUSEADDR too.
        options: the others of `find_many`, from `only` to `strict`.
    """
    selection = select_many("hold_many", count, port, options)
    return Holds.made(_held(answer(selection, warn, hold=True), exclusive=exclusive))


def _held(found: "Answer", *, exclusive: bool) -> "list[Hold]":
    holds: list[Hold] = []
    for port in found.ports:
        sockets = [socket.socket(fileno=sock.detach()) for sock in found.sockets[port]]
        holds.append(Hold.made(port, sockets, exclusive=exclusive))
        if not exclusive:
            open_door(sockets)
    return holds
