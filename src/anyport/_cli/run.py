"""`anyport run`: what it does."""

import os

from anyport import _background
from anyport._cli import output
from anyport._cli.output import FAILED
from anyport._files import remove
from anyport._find.selection import Selection, variable
from anyport._run.plan import AUTO, PORT_FILE, RETRIES, Plan
from anyport._run.report import Report
from anyport._run.template import Template, parse_variable
from anyport.errors import (
    AnyportError,
    InvalidSelection,
    NotReady,
    ProgramNotExecutable,
    ProgramNotFound,
    ResourceLimit,
    require_linux,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from anyport._cli.parser import Options
    from anyport._find.found import Answer

NOT_EXECUTABLE, NOT_FOUND = 126, 127
REPORT_TO = "--report-to="  # descriptor of a pipe, comma, pid of the caller or 0


# What holds when an option is not there; `run_options` has their names from here, too.
DEFAULTS: "Options" = {
    "hand_over": AUTO, "env": [], "retries": RETRIES, "port_file": None, "detach": False, "log": None, "verbose": False,
    "ready_timeout": None, "json": False, "help": False, "own": [],
}  # fmt: skip


class Command:
    """A command line that was understood; `pipe` is where to report, and `caller` whom the program must not outlive."""

    def __init__(self, args: "Sequence[str]", pipe: "int | None" = None, caller: int = 0) -> None:
        words, selection, command = _read(args)
        self.text: str = words.pop("help") or ""
        self.json: bool = words.pop("json")
        self.detach: bool = words.pop("detach")
        self.log: str | None = words.pop("log")
        self.verbose: bool = words.pop("verbose")
        self.pipe, self.caller = pipe, caller
        variables = dict(map(parse_variable, words.pop("env")))
        if selection:
            template = Template(command, variables, selection.labels)
            self.plan = Plan(selection, template, is_awaited=self.detach or pipe is not None, **words)
            self._check_together()

    def _check_together(self) -> None:
        if self.log is not None and not self.detach:
            raise InvalidSelection(
                "--log goes with --detach only", hint="else redirect the output: anyport run ... > FILE"
            )
        if self.detach and self.verbose:
            raise InvalidSelection("--verbose does not go with --detach, which prints the port", hint="leave it out")
        if self.json and not (self.detach or self.plan.port_file):
            raise InvalidSelection("--json has nothing to write", hint="it goes with --port-file and --detach")

    def run(self) -> int:
        """Do it; the program's status, negative for a signal."""
        for label in self.plan.unseen():
            output.tell(
                "warning", f"no argument has {{{label}}}; whether the program reads {variable(label)} can't be seen", ""
            )  # fmt: skip
        selection = self.plan.selection
        if selection.count > max(1, len(self.plan.own)) and not (selection.labels or selection.contiguous):
            text = f"the program can be told the first of {selection.count} ports only"
            output.tell("warning", text, "give each a label: --as web --as db, for {web} and {db}")
        closed = _background.fill()
        if self.plan.port_file is not None:
            remove(self.plan.port_file, PORT_FILE)  # of an earlier run: whoever waits for it would believe it
        if self.detach:
            return self._detach(closed)
        return self._run(self._report(self.pipe), closed, caller=self.caller)

    def _report(self, pipe: "int | None") -> Report:
        return Report(output.tell, pipe=pipe, write=self._written, port_file=self.plan.port_file, verbose=self.verbose)

    def _written(self, found: "Answer", labels: "tuple[str, ...]", pid: int) -> str:
        return output.written(found, labels, json=self.json, pid=pid)

    def _run(self, report: Report, closed: "Sequence[int]", *, caller: int = 0, alone: bool = False) -> int:
        from anyport._processes import process
        from anyport._run.runner import Runner

        try:
            watched = process(caller) if caller else None
            if caller and os.getppid() != caller:
                return FAILED  # it ended before we could watch it
            status = Runner(self.plan, report, caller=watched, closed=closed, alone=alone).run()
        except (AnyportError, OSError) as error:
            failure = error if isinstance(error, AnyportError) else ResourceLimit.of(error, "the system refuses")
            if not report.failed(failure):
                raise failure from None
            return status_of(failure)
        report.ended(status)
        report.close()
        return status

    def _detach(self, closed: "Sequence[int]") -> int:
        from anyport._run import detach

        if 1 in closed:
            raise output.OutputError("standard output is closed, and the port is to be printed there", hint="> FILE")
        log = os.devnull if self.log is None else self.log
        detach.check_log(log)
        background = detach.Background(lambda pipe: self._run(self._report(pipe), (), alone=True), log)
        try:
            output.write(background.wait(output.tell))
        except BaseException:
            background.stop()
            raise
        return output.DONE


def _read(args: "Sequence[str]") -> "tuple[Options, Selection | None, list[str]]":
    if args[:1] != ["--"]:
        from anyport._cli.run_options import read

        return read(args, DEFAULTS)
    return dict(DEFAULTS), Selection(), list(args[1:])  # without argparse, which is half of the start-up time


def _read_report_to(word: str) -> "tuple[int, int]":
    pipe, _, caller = word.removeprefix(REPORT_TO).partition(",")
    if not (pipe.isdecimal() and caller.isdecimal() and len(word) < 40):
        raise InvalidSelection(f"{word} is for the library, which starts this command", hint="leave it out")
    os.set_inheritable(int(pipe), False)  # noqa: FBT003 - the program shall not have it
    return int(pipe), int(caller)


def main(args: "Sequence[str]") -> int:
    """Run the verb with these arguments; the exit status, if it does not end like the program did."""
    pipe: int | None = None
    caller = 0
    command = None
    try:
        require_linux()
        if args and args[0].startswith(REPORT_TO):  # from the library; first, to be understood when nothing else is
            pipe, caller = _read_report_to(args[0])
            args = args[1:]
        command = Command(args, pipe, caller)
        if command.text:
            output.check()
            output.write(command.text)
            return output.DONE
        status = command.run()
    except AnyportError as error:
        if not (command is None and Report(output.tell, pipe=pipe).failed(error)):
            output.fail(error, json=bool(command and command.json and command.detach))
        status = status_of(error)
    except OSError as error:
        output.fail(ResourceLimit.of(error, "the system refuses"))
        return FAILED
    if status < 0:
        from anyport._run.signals import end_like

        end_like(status)
    return status


def status_of(error: AnyportError) -> int:
    """The exit status for an error of ours, as `env` and `timeout` have it; of a program that ended early, its own."""
    if isinstance(error, NotReady):
        return error.status or FAILED
    if isinstance(error, ProgramNotFound):
        return NOT_FOUND
    return NOT_EXECUTABLE if isinstance(error, ProgramNotExecutable) else FAILED
