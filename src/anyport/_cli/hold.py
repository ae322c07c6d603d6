"""`anyport hold`: its options, and what it does."""

from anyport import _processes
from anyport._cli import output
from anyport._cli.parser import Parser, add_output, add_selection, selection_of
from anyport._clock import parse_duration
from anyport._ports import check_port
from anyport.errors import InvalidSelection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_DESCRIPTION = """\
Find an unused port, print it, and keep it: a small process in the background
holds it until the caller ends. N is a number to try first; repeatable.

  port=$(anyport hold) || exit      held as long as this shell runs
  anyport hold --for 10m            for ten minutes, whoever calls
  anyport hold --release 26009      end the hold of this port
"""

_EPILOG = """\
Meanwhile the kernel gives the port to nobody, and a program without
SO_REUSEADDR can't bind it. One that sets SO_REUSEADDR can, and nearly all
servers do: that is how yours gets the port. Start yours while the port is held;
what listens when the hold ends goes on listening.

The caller is the nearest parent process that was started as a program: in
$(anyport hold || exit 1) the shell, not its subshell.

exit status:
  0 done; 1 no unused port, or nothing to release, with the reason; 2 wrong usage
"""


def _parser() -> Parser:
    parser = Parser("anyport hold", "anyport hold [N ...] [option ...] | --release N", _DESCRIPTION, _EPILOG)
    until = parser.add_argument_group("until when")
    until.add_argument("--while", dest="while_", metavar="PID", help="until this process ends (default: the caller)")
    until.add_argument("--for", dest="for_", metavar="TIME", help="for so long, such as 10m; with --while at most")
    until.add_argument("--release", metavar="N", help="end the hold of this port; with it end those made by that call")
    add_selection(parser, port=True)
    add_output(parser, json="port, hosts, protocols, refusals and the holder's pid as JSON")
    return parser


class Command:
    """Read a command line of `anyport hold`: what to hold and until when, or what to release."""

    def __init__(self, args: "Sequence[str]") -> None:
        parser = _parser()
        options, numbers = parser.read(args)
        self.text = parser.format_help() if options.pop("help") else ""
        self.json: bool = options.pop("json")
        shell, file = options.pop("shell"), options.pop("shell_file")
        pid, time, release = (options.pop(name) for name in ("while_", "for_", "release"))
        self.release = 0 if release is None else check_port(release)
        if self.release and list(args) not in (["--release", release], [f"--release={release}"]):
            raise InvalidSelection("--release goes with nothing else", hint=f"anyport hold --release {release}")
        self.seconds = None if time is None else _check_time(time)
        self.pid = None if pid is None else _processes.check_pid(pid)
        self.selection = selection_of(options, numbers)
        self.lines = output.ShellLines(self.selection, shell=shell, file=file, json=self.json)

    def run(self) -> int:
        """Hold ports and write them, or release one; return the exit status."""
        return self._release() if self.release else self._hold()

    def _hold(self) -> int:
        from anyport import _background
        from anyport._find.found import answer
        from anyport._hold import holder

        self.lines.check()
        _background.fill()
        ends = self._ends()
        found = answer(self.selection, output.tell, hold=True)
        pid, confirm = holder.start([sock for port in found.ports for sock in found.sockets[port]], ends, self.seconds)
        self.lines.write_file(found.ports)
        written = output.written(found, self.selection.labels, self.lines.printed, json=self.json, holder=pid)
        output.write(written)
        confirm()
        return output.DONE

    def _ends(self) -> "list[int]":
        """Return the descriptors that are readable when a process has ended whose end is that of the hold."""
        if self.pid is not None:
            return [_processes.process(self.pid)]
        return [] if self.seconds is not None else [_processes.caller()]

    def _release(self) -> int:
        from anyport._hold import holder

        others = [port for port in holder.release(self.release) if port != self.release]
        if others:
            output.tell("note", f"{', '.join(map(str, others))}, held by the same call, is released too", "")
        return output.DONE


def _check_time(text: str) -> float:
    seconds = parse_duration(text)
    if not seconds:
        raise InvalidSelection("a hold of 0 s would be none", hint="--for 10m holds for ten minutes")
    return seconds
