"""`anyport`, and `anyport find`: its options, and what it does."""

from anyport._cli import output
from anyport._cli.parser import Parser, add_output, add_selection, selection_of
from anyport._version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_DESCRIPTION = """\
Find an unused local port and print it. N is a number to try first; repeatable.

  anyport                    any unused TCP port, from the quiet range
  anyport 8080 8081          8080, else 8081, else any
  anyport --from 1080        the first unused number at or above 1080
  anyport --in 7002-7011     one of these
  anyport --name web         the same number each time, while it is unused
  anyport --here             the same, for the git work tree you are in

Other verbs, each with a --help of its own:

  anyport hold               the same, and keep it until the caller ends
  anyport run -- COMMAND     run a program on a port that is kept for it
  anyport who 8080           what has the port, or why else it can't be used
  anyport wait 8080          until something listens on it, or nothing has it
  anyport serve              give ports to other processes that ask for them
  anyport doctor             what this system allows, and what to change
"""

_EPILOG = """\
A port counts as unused when a real bind of it succeeded on every address that
was asked for. Nothing holds it afterwards: other callers of anyport who may
choose keep away from it for a minute (--keep), and the kernel gives numbers
outside the ephemeral range to nobody by itself; a program that names the number
can take it.

Durations are written 500ms, 30s, 10m or 24h. The ports go to standard output,
messages to standard error.

exit status:
  0 done; 1 no unused port, with the reason; 2 wrong usage; 130 interrupted

environment:
  PORTSERVER_ADDRESS  a portserver (`anyport serve`, or portpicker's), which is
                  asked first when nothing but how many ports is wanted; the port
                  is the calling process's then, until that ends
  ANYPORT_LEDGER  the file that remembers which ports were given out, for sharing
                  it between users or containers (default: one for each user, in
                  /dev/shm or /tmp)
"""


def _parser() -> Parser:
    parser = Parser("anyport", "anyport [N ...] [option ...]", _DESCRIPTION, _EPILOG)
    add_selection(parser)
    server = parser.add_argument_group("from a server")
    server.add_argument("--no-portserver", action="store_true", help="don't ask the one that PORTSERVER_ADDRESS names")
    add_output(parser, json="port, hosts, protocols and refusals as JSON", version=True)
    return parser


class Command:
    """Read a command line of `anyport find`: what to choose, and how to write it."""

    def __init__(self, args: "Sequence[str]") -> None:
        parser = _parser()
        options, numbers = parser.read(args)
        self.text = ""
        self.json: bool = options.pop("json")
        shell, file = options.pop("shell"), options.pop("shell_file")
        self._asks = not options.pop("no_portserver")
        if options.pop("help"):
            self.text = parser.format_help()
        if options.pop("version"):
            self.text = f"anyport {__version__}\n"
        if not self.text:
            self.selection = selection_of(options, numbers)
            self.lines = output.ShellLines(self.selection, shell=shell, file=file, json=self.json)

    def run(self) -> int:
        """Find the ports and write them; return the exit status."""
        from anyport._find.found import CALLER, NOBODY, answer_or_ask

        self.lines.check()
        found = answer_or_ask(self.selection, output.tell, CALLER if self._asks else NOBODY)
        self.lines.write_file(found.ports)
        output.write(output.written(found, self.selection.labels, self.lines.printed, json=self.json))
        return output.DONE
