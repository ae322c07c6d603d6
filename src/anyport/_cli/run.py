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
_REFUSED = "the system refuses"

# What holds when an option is not there; `run_options` has their names from here, too.
DEFAULTS: "Options" = {
    "hand_over": AUTO, "env": [], "retries": RETRIES, "port_file": None, "detach": False, "log": None, "verbose": False,
    "ready_timeout": None, "json": False, "help": False, "own": [],
}  # fmt: skip


class Command:
    """Read a command line of `anyport run`, and do what it says: nothing but to write `text`, if there is one."""

    def __init__(self, args: "Sequence[str]") -> None:
        options, selection, command = _read(args)
        self.text: str = options.pop("help") or ""
        self.json: bool = options.pop("json")
        self.detach: bool = options.pop("detach")
        self.log: str | None = options.pop("log")
        self.verbose: bool = options.pop("verbose")
        variables = dict(map(parse_variable, options.pop("env")))
        if selection:
            template = Template(command, variables, selection.labels)
            self.plan = Plan(selection, template, is_awaited=self.detach, **options)
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
        """Run the program, or leave it in the background; return its status, negative for a signal, or 0."""
        closed = _prepare(self.plan)
        if self.plan.port_file is not None:
            remove(self.plan.port_file, PORT_FILE)  # of an earlier run: whoever waits for it would believe it
        return self._detach(closed) if self.detach else _run(self.plan, self._report(None), closed)

    def _report(self, pipe: "int | None") -> Report:
        return Report(output.tell, pipe=pipe, write=self._written, port_file=self.plan.port_file, verbose=self.verbose)

    def _written(self, found: "Answer", labels: "tuple[str, ...]", pid: int) -> str:
        return output.written(found, labels, json=self.json, pid=pid)

    def _detach(self, closed: "Sequence[int]") -> int:
        from anyport._run import detach

        if 1 in closed:
            raise output.OutputError("standard output is closed, and the port is to be printed there", hint="> FILE")
        log = os.devnull if self.log is None else self.log
        detach.check_log(log)
        background = detach.Background(lambda pipe: _run(self.plan, self._report(pipe), (), alone=True), log)
        try:
            output.write(background.wait(output.tell))
        except BaseException:
            background.stop()
            raise
        return output.DONE


def _read(args: "Sequence[str]") -> "tuple[Options, Selection | None, list[str]]":
    """Return the options, the selection and the command; no selection, but a text under `help`, to write only that."""
    if args[:1] != ["--"]:
        from anyport._cli.run_options import read

        return read(args, DEFAULTS)
    return dict(DEFAULTS), Selection(), list(args[1:])  # without argparse, which is half of the start-up time


def _prepare(plan: Plan) -> "Sequence[int]":
    """Warn of ports that the program can't be told; return the standard streams that were closed, and are filled."""
    for label in plan.unseen():
        output.tell(
            "warning", f"no argument has {{{label}}}; whether the program reads {variable(label)} can't be seen", ""
        )  # fmt: skip
    selection = plan.selection
    if selection.count > max(1, len(plan.own)) and not (selection.labels or selection.contiguous):
        text = f"the program can be told the first of {selection.count} ports only"
        output.tell("warning", text, "give each a label: --as web --as db, for {web} and {db}")
    return _background.fill()


def _run(plan: Plan, report: Report, closed: "Sequence[int]", *, caller: int = 0, alone: bool = False) -> int:
    """Run the program, and report how that ends; return its status, or that of a failure that was reported.

    `caller` is the pid of our parent, if the program must not outlive that, and `alone` says that nobody waits for us.
    """
    from anyport._processes import process
    from anyport._run.runner import Runner

    try:
        watched = process(caller) if caller else None
        if caller and os.getppid() != caller:
            return FAILED  # it ended before we could watch it
        status = Runner(plan, report, caller=watched, closed=closed, alone=alone).run()
    except (AnyportError, OSError) as error:
        return _reported(report, error if isinstance(error, AnyportError) else ResourceLimit.of(error, _REFUSED))
    report.ended(status)
    report.close()
    return status


def _reported(report: Report, error: AnyportError) -> int:
    """Report an error, and return its exit status; raise it if nobody reads reports."""
    if not report.failed(error):
        raise error from None
    return status_of(error)


def _run_for_library(word: str, command: "Sequence[str]") -> int:
    """Run this command as the library has ordered it, which is told what becomes of it; return the status.

    `word` names the descriptor with the order, and the pipe to report to.
    """
    from anyport._run import order

    reading, pipe = order.descriptors(word)
    os.set_inheritable(pipe, False)  # noqa: FBT003 - the program shall not have it
    report = Report(output.tell, pipe=pipe)
    with open(reading, "rb") as lines:
        ordered = order.unpack(lines.readline())
    if ordered is None:
        return FAILED
    try:
        plan = order.plan_of(ordered, command)
    except AnyportError as error:
        return _reported(report, error)
    return _run(plan, report, _prepare(plan), caller=ordered["caller"])


def main(args: "Sequence[str]") -> int:
    """Run the verb with these arguments; return the exit status, if it does not end like the program did."""
    command = None
    try:
        require_linux()
        if args and args[0].startswith("--from-library="):
            status = _run_for_library(args[0], args[2:])
        else:
            command = Command(args)
            if command.text:
                output.check()
                output.write(command.text)
                return output.DONE
            status = command.run()
    except AnyportError as error:
        output.fail(error, json=bool(command and command.json and command.detach))
        status = status_of(error)
    except OSError as error:
        output.fail(ResourceLimit.of(error, _REFUSED))
        return FAILED
    if status < 0:
        from anyport._run.signals import end_like

        end_like(status)
    return status


def status_of(error: AnyportError) -> int:
    """Return the exit status for an error of ours, as `env` and `timeout` have it, or that of the program."""
    if isinstance(error, NotReady):
        return error.status or FAILED
    if isinstance(error, ProgramNotFound):
        return NOT_FOUND
    return NOT_EXECUTABLE if isinstance(error, ProgramNotExecutable) else FAILED
