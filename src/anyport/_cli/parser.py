"""The options that the verbs share: those that say which port, how they are read, and the selection that they make."""

import argparse
import os

from anyport._find.selection import KEEP, Selection
from anyport.errors import InvalidSelection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, NoReturn

    Options = dict[str, Any]  # option by option, what argparse made of a command line


class Parser(argparse.ArgumentParser):
    """Parse one verb's options, and `--json` and `--help`, which every verb has; raise InvalidSelection for errors.

    `elsewhere` has options of other verbs only, each with what there is here instead.
    """

    def __init__(
        self, prog: str, usage: str, description: str, epilog: str, elsewhere: "Mapping[str, str] | None" = None
    ) -> None:
        self.elsewhere = elsewhere or {}
        super().__init__(
            prog, usage, description, epilog, formatter_class=_formatter, allow_abbrev=False, add_help=False
        )

    def error(self, message: str) -> "NoReturn":
        raise InvalidSelection(message, hint=_hint([], self))

    def read(self, args: "Sequence[str]") -> "tuple[Options, list[str]]":
        """Return the options, and the numbers among them."""
        known, rest = self.parse_known_args(_joined(args, self))
        return vars(known), self._numbers(rest)

    def _numbers(self, rest: "Sequence[str]") -> "list[str]":
        """Return the arguments that are no options, wherever they stand: argparse wants its own side by side."""
        if "--" in rest:
            at = list(rest).index("--")
            return [*self._numbers(rest[:at]), *rest[at + 1 :]]
        unknown = [word for word in rest if word.startswith("-") and not word[1:2].isdigit()]
        if unknown:
            raise InvalidSelection(f"unrecognized arguments: {' '.join(unknown)}", hint=_hint(unknown, self))
        return list(rest)


def _formatter(prog: str) -> argparse.HelpFormatter:
    # Without a width argparse imports shutil, and with it five compression modules: 2 ms.
    try:
        columns = os.get_terminal_size(1).columns
    except (OSError, ValueError):
        columns = 100
    return argparse.RawDescriptionHelpFormatter(prog, width=max(60, min(columns, 100)) - 2, max_help_position=22)


def _hint(unknown: "Sequence[str]", parser: Parser) -> str:
    from difflib import get_close_matches

    options = [option for action in parser._actions for option in action.option_strings]  # noqa: SLF001
    names = [name.partition("=")[0] for name in unknown if name.startswith("--")]
    for name in names:
        if name in parser.elsewhere:
            return parser.elsewhere[name]
    close = [match for name in names for match in get_close_matches(name, options, 1, 0.7)]
    return f"did you mean {close[0]}?" if close else f"`{parser.prog} --help` lists the options"


def add_selection(parser: Parser, *, port: bool = False) -> None:
    """Add the options that say which port; `port` as one of them where a number by itself would mean another thing."""
    which = parser.add_argument_group("which port")
    if port:
        which.add_argument("--port", metavar="N", action="append", help="this number first; repeatable")
    which.add_argument("--only", action="store_true", help="no other than the numbers given (or than the name's own)")
    which.add_argument("--from", dest="from_", metavar="N", help="the first unused number at or above N")
    which.add_argument("--in", dest="in_", metavar="LIST", help="one of these, such as 7002-7011,8000")
    which.add_argument("--order", metavar="ORDER", help="how to go through --in: random (the default) or ascending")
    which.add_argument("--ephemeral", action="store_true", help="the kernel's choice, by bind to port 0")
    which.add_argument("--name", metavar="NAME", help="the same number each time for this user and name, while unused")
    which.add_argument("--here", action="store_true", help="the same, for the git work tree (or folder) you are in")
    which.add_argument("--exclude", metavar="LIST", action="append", help="never one of these; repeatable")
    many = parser.add_argument_group("how many")
    many.add_argument("-n", dest="count", metavar="COUNT", help="so many different ones, all or none")
    many.add_argument("--contiguous", action="store_true", help="consecutive numbers")
    many.add_argument("--as", dest="as_", metavar="LABEL", action="append", help="one port for each label; repeatable")
    where = parser.add_argument_group("where it must be unused")
    where.add_argument("--host", metavar="ADDR", action="append", help="on this address; repeatable (default: on all)")
    where.add_argument("--tcp", action="store_true", help="for TCP (the default)")
    where.add_argument("--udp", action="store_true", help="for UDP; with --tcp one number for both")
    where.add_argument("--strict", action="store_true", help="connections left in TIME_WAIT count as use")
    where.add_argument(
        "--keep", metavar="TIME", default=KEEP, help="how long other callers choose another one (60s; 0: no ledger)"
    )


def add_output(parser: Parser, *, json: str, shell: bool = True, version: bool = False) -> None:
    """Add the options that say what is written; `json` says what that is."""
    output = parser.add_argument_group("output")
    output.add_argument("--json", action="store_true", help=json)
    if shell:
        output.add_argument("--shell", action="store_true", help="PORT=... for eval; with --as web WEB_PORT=...")
        output.add_argument("--shell-file", metavar="FILE", help="write these lines to a file, whatever is printed")
    if version:
        output.add_argument("--version", action="store_true", help="print the version")
    output.add_argument("-h", "--help", action="store_true", help="print this")


def selection_of(options: "Options", numbers: "Sequence[str]" = ()) -> Selection:
    """Return the selection that these options (no others are left) and numbers mean."""
    first = [*numbers, *(options.pop("port", None) or ())]
    if options["exclude"]:
        options["exclude"] = ",".join(options["exclude"])
    return Selection(first or None, **options)


def _joined(args: "Sequence[str]", parser: argparse.ArgumentParser) -> "list[str]":
    """Write `--keep -1s` as `--keep=-1s`: argparse takes what begins with a dash for an option, and would hide it."""
    takes_value = _taking_a_value(parser)
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


def split_command(args: "Sequence[str]", parser: Parser) -> "tuple[list[str], list[str]]":
    """Return our options, and the command behind them: it begins at the first word that is none, or behind `--`."""
    takes_value = _taking_a_value(parser)
    at = 0
    while at < len(args) and args[at].startswith("-") and args[at] not in ("-", "--"):
        at += 2 if args[at] in takes_value else 1
    return list(args[:at]), list(args[at + 1 :] if args[at : at + 1] == ["--"] else args[at:])


def _taking_a_value(parser: argparse.ArgumentParser) -> "set[str]":
    return {option for action in parser._actions if action.nargs is None for option in action.option_strings}  # noqa: SLF001
