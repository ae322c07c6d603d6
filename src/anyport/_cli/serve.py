"""`anyport serve`: its options, and what it does."""

import os

from anyport import _portserver
from anyport._cli import output
from anyport._cli.parser import Parser, add_output
from anyport._ports import parse_ports
from anyport._portserver import wire
from anyport.errors import InvalidSelection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from socket import socket

    from anyport._serve.pool import Pool

_DESCRIPTION = """\
Serve ports to other processes: a portserver, to which clients of portpicker in
any language talk, and `anyport` itself. Each port is that of the process it was
asked for, until that ends; then it is free again.

  anyport serve &
  export PORTSERVER_ADDRESS=@unittest-portserver
"""

_EPILOG = """\
A number is given if it is unused for TCP and UDP on every local address, and
nobody else was given it by anyport. Nothing holds it, unless --hold is given: a
program that names the number can take it. Only processes of the user that runs
the server get any.

It prints the line PORTSERVER_ADDRESS=... when it is ready, serves until it gets
SIGTERM or Ctrl-C, and tells its counts on SIGUSR1. Processes keep their ports
when it is started again. Sockets that systemd listens on (LISTEN_FDS) are taken.

exit status:
  0 it was told to stop; 1 it can't serve, with the reason; 2 wrong usage
"""


def _parser() -> Parser:
    parser = Parser("anyport serve", "anyport serve [option ...]", _DESCRIPTION, _EPILOG)
    what = parser.add_argument_group("where, and what")
    what.add_argument(
        "--socket", metavar="ADDRESS",
        help="@name or a path (default: what PORTSERVER_ADDRESS says, else @unittest-portserver)",
    )  # fmt: skip
    what.add_argument("--pool", metavar="LIST", help="the numbers, such as 15000-24999 (default: the quiet range)")
    what.add_argument(
        "--hold", action="store_true", help="hold what is given: only for programs that set SO_REUSEADDR, for TCP"
    )
    what.add_argument("-v", "--verbose", action="store_true", help="say what is given and taken back, too")
    add_output(parser, json="the address, how many ports, and the server's pid as JSON", shell=False)
    return parser


class Command:
    """Read a command line of `anyport serve`: where to listen, and what to give."""

    def __init__(self, args: "Sequence[str]") -> None:
        parser = _parser()
        options, numbers = parser.read(args)
        self.text = parser.format_help() if options["help"] else ""
        self.json: bool = options["json"]
        self._hold: bool = options["hold"]
        self._verbose: bool = options["verbose"]
        self._address: str | None = options["socket"]
        self._pool = None if options["pool"] is None else parse_ports(options["pool"])
        if numbers and not self.text:
            raise InvalidSelection(f"serve takes no argument: {numbers[0]}", hint="--pool 15000-24999 names the ports")

    def run(self) -> int:
        """Serve ports until told to stop; return the exit status."""
        import gc

        from anyport import _background
        from anyport._serve import listener
        from anyport._serve.log import Log
        from anyport._serve.pool import ADDRESS, pool_of, raise_limit
        from anyport._serve.server import Server

        gc.enable()  # which the command does without for one answer
        _background.fill()
        limit = raise_limit()
        handed = listener.inherited()
        listener.check_alone(handed, self._address)
        pool = pool_of(self._pool, _tell, holding=self._hold)
        address = _portserver.address() or ADDRESS if self._address is None else self._address
        sockets = handed or [listener.listen(address)]
        try:
            server = Server(sockets, pool, Log(_tell, verbose=self._verbose), limit)
            server.run(lambda: self._say(sockets, pool))
        finally:
            pool.close()
            for sock in sockets:
                listener.close(sock, remove=not handed)
        return output.DONE

    def _say(self, sockets: "Sequence[socket]", pool: "Pool") -> None:
        """Write where the server listens, for whoever waits for that."""
        from shlex import quote

        addresses = [wire.written(sock.getsockname()) for sock in sockets]
        if self.json:
            facts = {"addresses": addresses, "ports": pool.free + pool.given, "pid": os.getpid()}
            output.write(output.as_json(facts))
        else:
            output.write("".join(f"{_portserver.VARIABLE}={quote(each)}\n" for each in addresses))


def _tell(kind: str, message: str, hint: str) -> None:
    """Write a message, unless standard error takes no more, as a pipe that nobody reads: all clients would wait."""
    from select import POLLOUT, poll

    stream = poll()
    stream.register(2, POLLOUT)
    if stream.poll(0):
        output.tell(kind, message, hint)
