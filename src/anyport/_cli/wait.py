"""`anyport wait`: its options, and what it does."""

from anyport._cli import output
from anyport._cli.parser import Parser, add_output
from anyport._ports import PortSet
from anyport._processes import check_pid
from anyport._who import wait
from anyport.errors import InvalidSelection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST = 5  # leftovers that are told
_DESCRIPTION = """\
Wait until a port is listened on, or unused; of several until all of them are.

  anyport wait 8080                           until something listens on 8080
  anyport wait 5432 6379 --timeout 2m         on both
  anyport wait 8080 --tree $!                 until the program just started does
  anyport wait 8080 --until unused && ./serve when the old one is gone
"""

_EPILOG = """\
It looks at the kernel's socket table and never connects: a connect can reach a
stale server, count in a queue, or connect to itself. UDP has no listening state:
there a socket that is bound counts.

exit status:
  0 the ports are listened on, or unused; 1 they were not in time, or the process
  of --tree has ended, with what stands in the way; 2 wrong usage; 125 it could
  not be found out, with the reason; 130 interrupted
"""


def _parser() -> Parser:
    parser = Parser("anyport wait", "anyport wait PORT|RANGE ... [option ...]", _DESCRIPTION, _EPILOG)
    what = parser.add_argument_group("what for")
    what.add_argument("--until", metavar="STATE", default=wait.LISTENING, help="listening (the default) or unused")
    what.add_argument("--timeout", metavar="TIME", default=wait.TIMEOUT, help="at most so long (30s)")
    what.add_argument("--tree", metavar="PID", help="only this process and what it started counts")
    what.add_argument("--strict", action="store_true", help="connections left in TIME_WAIT count as use")
    what.add_argument("--tcp", action="store_true", help="for TCP (the default)")
    what.add_argument("--udp", action="store_true", help="for UDP; with --tcp for both")
    add_output(parser, json="on time-out what stands in the way as JSON", shell=False)
    return parser


class Command:
    """Read a command line of `anyport wait`: which ports, and what for."""

    def __init__(self, args: "Sequence[str]") -> None:
        parser = _parser()
        options, self._numbers = parser.read(args)
        self.text = parser.format_help() if options.pop("help") else ""
        self.json: bool = options.pop("json")
        self._options = options
        if options["tree"] is not None:
            options["tree"] = check_pid(options["tree"])

    def run(self) -> int:
        """Wait until the ports are listened on, or unused; return the exit status."""
        if not self._numbers:
            raise InvalidSelection("no port to wait for", hint="anyport wait 8080")
        wait.wait(self._numbers, **self._options)
        if self._options["until"] == wait.UNUSED:
            self._remark()
        return output.DONE

    def _remark(self) -> None:
        """Tell of ports where what is left over keeps out even a server with SO_REUSEADDR."""
        from anyport._who.look import look
        from anyport._who.who import examine, protocols_of, read_ports

        tcp, udp = self._options["tcp"], self._options["udp"]
        ports, protocols = read_ports(self._numbers), protocols_of(tcp=tcp or not udp, udp=udp)
        seen = look(ports, protocols, processes=False, bind=False)
        left = PortSet(range(each.port, each.port + 1) for each in seen.occupants)  # of a range, too, one by one
        findings = [each for each in examine(left, protocols, seen) if each.keeps_out]
        for finding in findings[:_MOST]:
            output.tell("note", finding.verdict, finding.notes[0])
        if len(findings) > _MOST:
            output.tell("note", f"and {len(findings) - _MOST} more ports", "")
