"""`anyport who`: its options, and what it does."""

from anyport._address import pair
from anyport._cli import output
from anyport._cli.parser import Parser, add_output
from anyport._cli.table import table, terminal_width
from anyport._occupant import UNSEEN, printable
from anyport._who.look import look
from anyport._who.table import ALL, WITHOUT_PEER, is_in
from anyport._who.who import blind_spot, examine, protocols_of, read_ports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from anyport._occupant import Occupant
    from anyport._ports import PortSet
    from anyport._who.look import Look

_DESCRIPTION = """\
Say what has a port, in which state, and whose process it is; or why else the
port can't be used. PORT is a number, or a range; without any: every port in use.

  anyport who 8080              what has 8080, TCP or UDP
  anyport who 7002-7011 --tcp   what has any of these
  if anyport who 8080; then ... something has it
"""

_EPILOG = """\
States are the kernel's, and BOUND for a socket that is bound and neither listens
nor is connected: netstat, lsof and older versions of ss do not show those of TCP.
A number that no socket is seen to have is bound for some microseconds, to make
sure; the numbers of a range are not.

Processes of other users are shown to root only; their sockets always are.

exit status:
  0 something has one of the ports; 1 nothing has; 2 wrong usage; 125 it could not
  be found out, with the reason
"""
_HEADER = ("PROTO", "STATE", "LOCAL", "REMOTE", "USER", "PROCESS", "COMMAND")
_FIRST = ("LISTEN", "BOUND")
_MOST = 4  # pids of a row on a terminal


def _parser() -> Parser:
    parser = Parser("anyport who", "anyport who [PORT|RANGE ...] [option ...]", _DESCRIPTION, _EPILOG)
    where = parser.add_argument_group("which sockets")
    where.add_argument("--tcp", action="store_true", help="of TCP (default: of both protocols)")
    where.add_argument("--udp", action="store_true", help="of UDP")
    where.add_argument(
        "--no-connections", dest="connections", action="store_false", help="only those that listen or are merely bound"
    )
    add_output(parser, json="a list with one object for each socket", shell=False)
    return parser


class Command:
    """Read a command line of `anyport who`: which ports, and how to write what has them."""

    def __init__(self, args: "Sequence[str]") -> None:
        parser = _parser()
        options, numbers = parser.read(args)
        self.text = parser.format_help() if options["help"] else ""
        self.json: bool = options["json"]
        self.connections: bool = options["connections"]
        self.ports = read_ports(numbers or None)
        self.protocols = protocols_of(tcp=options["tcp"], udp=options["udp"])

    def run(self) -> int:
        """Write what has the ports; return the exit status."""
        seen = self._look()
        if blind := blind_spot(self.ports, self.protocols):
            hint = "Linux shows them from 6.8 on, where netlink is not refused; name a port to make sure"
            output.tell("note", blind, hint)
        shown = [
            each for each in seen.occupants if self.connections or each.state == UNSEEN or is_in(each, WITHOUT_PEER)
        ]
        if self.json:
            text = output.as_json([output.occupant_facts(each) for each in shown])
        else:
            text = written(self.ports, self.protocols, seen, shown, connections=self.connections)
        output.write_until_closed(text)
        return output.DONE if seen.occupants else output.NOTHING_THERE

    def _look(self) -> "Look":
        # The verdict on a port is about all of its sockets, whichever the table shows.
        return look(self.ports, self.protocols, states=ALL if self.connections or self.ports else WITHOUT_PEER)


def written(
    ports: "PortSet", protocols: "Sequence[str]", seen: "Look", shown: "Sequence[Occupant]", *, connections: bool
) -> str:
    """Return the verdicts, and below them the evidence: a table of the sockets that are to be shown."""
    lines: list[str] = []
    for finding in examine(ports, protocols, seen):
        lines += [finding.verdict, *(f"  {note}" for note in finding.notes)]
    lines += _ranges(ports, protocols, seen)
    if not (lines or seen.occupants):
        none = "no port is in use" if connections else "no socket listens or is merely bound"
        lines = [f"{none} ({', '.join(protocols)})"]
    text = "".join(f"{line}\n" for line in lines)
    if not shown:
        return text
    width = terminal_width()
    rows = [_row(each, None if width is None else _MOST) for each in sorted(shown, key=_place)]
    return text + ("\n" if lines else "") + table(_HEADER, rows, width)


def _place(each: "Occupant") -> "tuple[object, ...]":
    """Return what the table is sorted by: servers stand before connections."""
    rank = _FIRST.index(each.state) if each.state in _FIRST else len(_FIRST)
    return each.port, each.protocol, rank, each.address, each.state, each.remote_address or "", each.remote_port or 0


def _row(each: "Occupant", most: "int | None") -> "tuple[str, ...]":
    local = each.at(pair(each.address, each.port))
    remote = "" if each.remote_address is None else pair(each.remote_address, each.remote_port or 0)
    left = "" if each.seconds_left is None else f" {max(0.0, each.seconds_left):.0f}s"
    user = printable(each.user or "") or ("" if each.uid is None else str(each.uid))
    return each.protocol, each.state + left, local, remote, user, _processes(each, most), _command(each)


def _processes(each: "Occupant", most: "int | None") -> str:
    """Write processes as `nginx 7,8`, each name once; of more pids than `most` the first, and how many more."""
    by_name: dict[str, list[str]] = {}
    for process in each.processes:
        by_name.setdefault(printable(process.name) or "?", []).append(str(process.pid))
    unseen = "?" if each.inode and not by_name else ""
    return " ".join(f"{name} {_pids(pids, most)}" for name, pids in by_name.items()) or unseen


def _pids(pids: "list[str]", most: "int | None") -> str:
    shown = pids[:most]
    return ",".join(shown) + (f" and {len(pids) - len(shown)} more" if shown != pids else "")


def _command(each: "Occupant") -> str:
    from shlex import join

    words = each.processes[0].command if each.processes else ()
    return printable(join(words) if len(words) > 1 else "".join(words))  # a single one may be a title, with spaces


def _ranges(ports: "PortSet", protocols: "Sequence[str]", seen: "Look") -> "list[str]":
    """Return a line for each range: how many of its numbers are in use."""
    lines: list[str] = []
    for part in ports.ranges:
        if set(part) <= ports.named:
            continue
        for protocol in protocols:
            count = len({each.port for each in seen.occupants if each.protocol == protocol and each.port in part})
            lines.append(f"{part[0]}-{part[-1]}/{protocol}: {count or 'none'} of {len(part)} in use")
    return lines
