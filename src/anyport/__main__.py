"""The command `anyport`.

The plain forms, `anyport [N ...]` and `anyport --from N`, do without argparse: its import takes longer than finding a
port, and than a pipeline of ss and awk.
"""

import gc
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn, Protocol

    class Command(Protocol):
        """A command line that was understood; `text` is all that is to be done if it is not empty."""

        text: str
        json: bool

        def run(self) -> int:
            """Do what the command line says; return the exit status."""
            ...


_VERBS = ("find", "hold", "who", "wait", "serve", "doctor")
_ASKING = ("who", "wait")  # they need no Linux, and 1 is one of their answers


def main() -> "NoReturn":
    """Run the command with the arguments of this process, and end the process with its exit status."""
    gc.disable()  # one answer and out: there is nothing to collect in between
    try:
        status = run(sys.argv[1:])
    except KeyboardInterrupt:
        status = 130
    # Without taking the interpreter apart, which would be 2 ms of 13: all output is written, and the ledger unlocked.
    os._exit(status)


def run(args: "Sequence[str]") -> int:
    """Run the command with these arguments, and return its exit status."""
    from anyport._cli import output
    from anyport.errors import AnyportError, ResourceLimit, require_linux

    if args[:1] == ["run"]:
        from anyport._cli.run import main as run_program

        return run_program(args[1:])
    is_asking = bool(args) and args[0] in _ASKING
    status = output.FAILED if is_asking else output.NOTHING_THERE
    command = None
    try:
        if not is_asking:
            require_linux()
        output.check()
        if all(map(_is_number, args)) or (len(args) == 2 and args[0] == "--from" and _is_number(args[1])):
            return _run_plain(args)
        command = _command(args)
        if command.text:
            output.write(command.text)
            return output.DONE
        return command.run()
    except AnyportError as error:
        return output.fail(error, json=bool(command and command.json), status=status)
    except OSError as error:  # an import that found no descriptor left, for one
        return output.fail(ResourceLimit.of(error, "the system refuses"), status=status)


def _run_plain(args: "Sequence[str]") -> int:
    from anyport._cli import output
    from anyport._find.found import CALLER, answer_or_ask
    from anyport._find.selection import Selection

    selection = Selection(from_=args[1]) if args[:1] == ["--from"] else Selection(args or None)
    output.write(output.written(answer_or_ask(selection, output.tell, CALLER)))
    return output.DONE


def _command(args: "Sequence[str]") -> "Command":
    verb, rest = (args[0], args[1:]) if args[0] in _VERBS else ("find", args)
    if verb == "hold":
        from anyport._cli.hold import Command as HoldCommand

        return HoldCommand(rest)
    if verb == "who":
        from anyport._cli.who import Command as WhoCommand

        return WhoCommand(rest)
    if verb == "wait":
        from anyport._cli.wait import Command as WaitCommand

        return WaitCommand(rest)
    if verb == "serve":
        from anyport._cli.serve import Command as ServeCommand

        return ServeCommand(rest)
    if verb == "doctor":
        from anyport._cli.doctor import Command as DoctorCommand

        return DoctorCommand(rest)
    from anyport._cli.find import Command as FindCommand

    return FindCommand(rest)


def _is_number(arg: str) -> bool:
    return arg.isascii() and arg.isdecimal()


if __name__ == "__main__":
    main()
