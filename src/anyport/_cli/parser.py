"""The words of the command line: options, and how they are put together into a selection."""

import argparse
import os

from anyport._selection import KEEP, Selection, variable
from anyport._version import __version__
from anyport.errors import InvalidSelection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

_DESCRIPTION = """\
Find an unused local port and print it. N is a number to try first; repeatable.

  anyport                    any unused TCP port, from the quiet range
  anyport 8080 8081          8080, else 8081, else any
  anyport --from 1080        the first unused number at or above 1080
  anyport --in 7002-7011     one of these
  anyport --name web         the same number each time, while it is unused
"""

_EPILOG = """\
A port counts as unused when a real bind of it succeeded on every address that
was asked for. Nothing holds it afterwards: other callers of anyport who may
choose keep away from it for a minute (--keep), and the kernel gives numbers
outside the ephemeral range to nobody by itself; a program that names the number
can take it.

Durations are written 500ms, 30s, 10m or 24h. The ports go to standard output,
all talk to standard error.

exit status:
  0 done; 1 no unused port, with the reason; 2 wrong usage; 130 interrupted

environment:
  ANYPORT_LEDGER  the file that remembers which ports were given out, for sharing
                  it between users or containers (default: one for each user, in
                  /run/user/UID, /dev/shm or /tmp)
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> "NoReturn":
        raise InvalidSelection(message, hint=_hint(message, self))


def _formatter(prog: str) -> argparse.HelpFormatter:
    # Without a width argparse imports shutil, and with it five compression modules: 2 ms.
    try:
        columns = os.get_terminal_size(1).columns
    except (OSError, ValueError):
        columns = 100
    return argparse.RawDescriptionHelpFormatter(prog, width=max(60, min(columns, 100)) - 2, max_help_position=22)


def _hint(message: str, parser: argparse.ArgumentParser) -> str:
    from difflib import get_close_matches

    unknown = message.removeprefix("unrecognized arguments: ").split() if message.startswith("unrecognized") else []
    options = [option for action in parser._actions for option in action.option_strings]  # noqa: SLF001
    words = [word.partition("=")[0] for word in unknown if word.startswith("--")]
    close = [match for word in words for match in get_close_matches(word, options, 1, 0.7)]
    return f"did you mean {close[0]}?" if close else "`anyport --help` lists the options"


def selection_options() -> argparse.ArgumentParser:
    """The options that say which port: a parent parser."""
    parser = _Parser(add_help=False, allow_abbrev=False)
    which = parser.add_argument_group("which port")
    which.add_argument("--only", action="store_true", help="no other than the numbers given (or than the name's own)")
    which.add_argument("--from", dest="from_", metavar="N", help="the first unused number at or above N")
    which.add_argument("--in", dest="in_", metavar="LIST", help="one of these, such as 7002-7011,8000")
    which.add_argument("--order", metavar="ORDER", help="of --in: random (the default) or ascending")
    which.add_argument("--ephemeral", action="store_true", help="the kernel's choice, by bind to port 0")
    which.add_argument("--name", metavar="NAME", help="the same number each time for this user and name, while unused")
    which.add_argument("--here", action="store_true", help="the same, for the git work tree (or folder) you are in")
    which.add_argument("--exclude", metavar="LIST", action="append", help="never one of these; repeatable")
    many = parser.add_argument_group("how many")
    many.add_argument("-n", dest="count", metavar="COUNT", help="so many different ones, all or none")
    many.add_argument("--contiguous", action="store_true", help="consecutive numbers")
    many.add_argument("--as", dest="as_", metavar="LABEL", action="append", help="one for each label; repeatable")
    where = parser.add_argument_group("where it must be unused")
    where.add_argument("--host", metavar="ADDR", action="append", help="here; repeatable (default: everywhere)")
    where.add_argument("--tcp", action="store_true", help="for TCP (the default)")
    where.add_argument("--udp", action="store_true", help="for UDP; with --tcp one number for both")
    where.add_argument("--strict", action="store_true", help="leftovers in TIME_WAIT count as use")
    where.add_argument(
        "--keep", metavar="TIME", default=KEEP, help="how long other callers choose another one (60s; 0: no ledger)"
    )
    return parser


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="anyport",
        usage="anyport [N ...] [option ...]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=_formatter,
        parents=[selection_options()],
        allow_abbrev=False,
        add_help=False,
    )
    output = parser.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="port, hosts, protocols and refusals as JSON")
    output.add_argument("--shell", action="store_true", help="PORT=... for eval; with --as web WEB_PORT=...")
    output.add_argument("--version", action="store_true", help="print the version")
    output.add_argument("-h", "--help", action="store_true", help="print this")
    return parser


class Command:
    """A command line that was understood: what to choose, and how to write it (`variables` for --shell)."""

    def __init__(self, args: "Sequence[str]") -> None:
        parser = _parser()
        known, rest = parser.parse_known_args(_joined(args, parser))
        words = vars(known)
        self.text = ""
        self.json: bool = words.pop("json")
        shell: bool = words.pop("shell")
        if words.pop("help"):
            self.text = parser.format_help()
        if words.pop("version"):
            self.text = f"anyport {__version__}\n"
        if not self.text:
            if words["exclude"]:
                words["exclude"] = ",".join(words["exclude"])
            self.selection = Selection(_numbers(rest) or None, **words)
            self.variables = self._check_shell(shell=shell)

    def _check_shell(self, *, shell: bool) -> "tuple[str, ...]":
        if not shell:
            return ()
        if self.json:
            raise InvalidSelection("--shell and --json can't be used together", hint="leave one of them out")
        if not self.selection.labels and self.selection.count > 1:
            raise InvalidSelection(
                f"--shell has no names for {self.selection.count} ports", hint="give each a label: --as web --as db"
            )
        return tuple(map(variable, self.selection.labels)) or ("PORT",)


def _numbers(rest: "Sequence[str]") -> "list[str]":
    """The arguments that are no options, wherever they stand: argparse wants its positional ones side by side."""
    if "--" in rest:
        at = list(rest).index("--")
        return [*_numbers(rest[:at]), *rest[at + 1 :]]
    unknown = [word for word in rest if word.startswith("-") and not word[1:2].isdigit()]
    if unknown:
        _parser().error(f"unrecognized arguments: {' '.join(unknown)}")
    return list(rest)


def _joined(args: "Sequence[str]", parser: argparse.ArgumentParser) -> "list[str]":
    """`--keep -1s` as `--keep=-1s`: argparse takes what begins with a dash for an option, and would hide the value."""
    takes_value = {option for action in parser._actions if action.nargs is None for option in action.option_strings}  # noqa: SLF001
    joined: list[str] = []
    for arg in args:
        if (
            joined
            and joined[-1] in takes_value
            and joined[-1].startswith("--")
            and arg[:1] == "-"
            and arg[1:2].isdigit()
        ):
            joined[-1] += f"={arg}"
        else:
            joined.append(arg)
    return joined
