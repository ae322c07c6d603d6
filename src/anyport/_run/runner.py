"""The runner: holds the ports, starts the program, and is as if it were not there until the program ends.

+--> choose and hold
|           |
|           v
|    +--> start  (supervised, or as was asked; it may turn out that it has to be shared)
|    |      |
|    |      v
|    |    watch  (`watch` has the states of the program)
|    |      |
|    |      v           it has had its port, or did not fail,
|    |   verdict ------------------------------------------------+
|    |    |   |         or no retry is left                      |
|    +----+   |                                                  v
|   release   |                                        leave the hold to a daemon,
+-------------+                                        end like the program
  another port
"""

import os

from anyport._find.found import answer
from anyport._find.remarks import some
from anyport._hold.activation import caller_environment
from anyport._linux import prctl, proc
from anyport._run import conflict, daemon
from anyport._run.handover import HandOver
from anyport._run.plan import AUTO, RELEASED, SHARED, SUPERVISED
from anyport._run.program import Child
from anyport._run.readiness import strangers
from anyport._run.signals import Signals
from anyport._run.watch import Watch, end_descendants, wait_for_daemon
from anyport._supervise import enter
from anyport.errors import HandOverUnavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from anyport._run.plan import Plan
    from anyport._run.report import Report
    from anyport._supervise.supervisor import Supervisor


class Runner:
    """Do one run, with all its starts.

    `caller` is a descriptor that is readable when the process has ended that the program must not outlive (or None),
    `closed` are the standard streams that the caller had closed, and `alone` says that nobody waits for our end.
    """

    def __init__(
        self, plan: "Plan", report: "Report", *, caller: "int | None" = None, closed: "Sequence[int]" = (),
        alone: bool = False,
    ) -> None:  # fmt: skip
        self._plan = plan
        self._report = report
        self._caller = caller
        self._closed = closed
        self._alone = alone
        self._attempts: conflict.Attempts | None = None  # of the last start, as the supervisor
        self._supervisor: Supervisor | None = None
        self._stops = report.pipe is None  # with the program, for a shell to see; who reads reports is none

    def run(self) -> int:
        """Start the program, and again as long as it loses its port; return its exit status, negative for a signal.

        Raise AnyportError when there is no port, or the program could not be started or had to be stopped.
        """
        held = self._choose()
        self._signals = Signals()
        prctl.set_child_subreaper()
        how = SUPERVISED if self._plan.hand_over == AUTO else self._plan.hand_over
        try:
            for left in range(self._plan.retries, -1, -1):
                status, next_step = self._start(held, how)
                if next_step != conflict.PASS_ON:
                    self._say_why(status, held, next_step, left)
                if not left or next_step == conflict.PASS_ON:
                    self._leave_behind(held, status)
                    return status
                how = held.how
                if next_step == conflict.RELEASE:
                    how = RELEASED
                else:
                    held.close()
                    held = self._choose()
            raise AssertionError("unreachable")
        finally:
            held.close()

    def _choose(self) -> HandOver:
        found = answer(self._plan.selection, self._report.tell, hold=True)
        self._report.found(found, self._plan.selection.labels)
        return HandOver(found, self._plan.selection.labels, self._plan.own)

    def _start(self, held: HandOver, how: str) -> "tuple[int, str]":
        """Start the program once, and see it through; return how it ended, and what to do about it."""
        try:
            watch = self._launch(held, how)
            status = watch.until_end(self._signals, self._attempts, caller=self._caller, stops=self._stops)
            self._look_after(watch, status)
            return status, self._verdict(status, watch, held)
        finally:
            if self._attempts:
                self._attempts.close()

    def _launch(self, held: HandOver, how: str) -> Watch:
        """Start the program, by this hand-over if that is possible, and begin to watch it."""
        child = self._child(held)
        held.prepare(child, how)
        self._attempts = conflict.Attempts(held.protocols) if how == SHARED else None
        pid = child.start(self._signals.before, held.forked, lambda error: self._share_instead(error, held))
        self._supervise(child, held)
        watch = Watch(pid, held, self._plan, self._report, self._supervisor)
        self._report.started(pid, held.ports, held.how)
        return watch

    def _child(self, held: HandOver) -> Child:
        """Return what is to be started: the command with its ports filled in."""
        hosts = self._plan.selection.hosts
        command, variables = self._plan.template.filled(held.ports, hosts[0] if hosts else None)
        before = caller_environment() if self._plan.environment is None else self._plan.environment
        return Child(self._plan.file, command, {**before, **variables}, closed=self._closed)

    def _look_after(self, watch: Watch, status: int) -> None:
        """See whether a daemon that the program left behind is ready, or will be; raise why it had to be stopped."""
        watch.look()
        if not status and self._plan.is_awaited and not (watch.is_to_end or watch.failure):
            wait_for_daemon(watch, self._signals)
        if watch.failure:
            end_descendants(watch.sleep)
            raise watch.failure
        if not (status or watch.readiness.is_complete):
            self._report.never_ready(status)

    def _share_instead(self, error: OSError, held: HandOver) -> None:
        """Share the port with a program that can't be supervised, if we may choose, and say so."""
        why = enter.reason(error, self._plan.file)
        if self._plan.hand_over == SUPERVISED or held.own:
            raise HandOverUnavailable(
                f"the program can't be supervised: {why}",
                hint="--map needs that" if held.own else "--hand-over shared, or auto, works without that",
            ) from None
        held.share()
        self._attempts = conflict.Attempts(held.protocols)
        self._report.tell("note", f"shared, not supervised: {why}", "")

    def _supervise(self, child: Child, held: HandOver) -> None:
        if self._supervisor:  # of an earlier start
            self._supervisor.close()
        self._supervisor = None
        if child.listener is not None:
            from anyport._supervise.supervisor import Supervisor

            self._supervisor = Supervisor(child.listener, held.by_number, held.own, self._report.tell)

    def _verdict(self, status: int, watch: Watch, held: HandOver) -> str:
        if status <= 0 or watch.is_to_end or watch.readiness.has_begun:
            return conflict.PASS_ON
        taken = bool(strangers(held.numbers, held.hosts, held.inodes))
        tried = self._attempts is not None and not taken and self._attempts.was_just_made()
        if tried and self._plan.hand_over == SHARED:
            self._report.tell(
                "note", f"the program may have been refused {some(held.ports)}, which is held",
                "if it sets no SO_REUSEADDR: --hand-over released",
            )  # fmt: skip
        lost = self._supervisor is not None and self._supervisor.is_lost  # then it had to go by the door, like shared
        return conflict.verdict(taken=taken, refused_by_us=(tried or lost) and self._plan.hand_over == AUTO)

    def _say_why(self, status: int, held: HandOver, next_step: str, left: int) -> None:
        why, what = "somebody else has it", "now on another port"
        if next_step == conflict.RELEASE:
            why, what = "nobody else has it, so it seems to set no SO_REUSEADDR", "now released"
        text = f"the program ended with status {status} and without {some(held.ports)}: {why}"
        self._report.tell("note", f"{text}; {what if left else 'no retry is left'}", "")

    def _leave_behind(self, held: HandOver, status: int) -> None:
        """Keep the hold for a daemon, if there is one: here if nobody waits for our end, else in another process."""
        if not held.descriptors:
            return
        if supervisor := self._supervisor:
            if supervisor.is_over:
                return
            if self._alone:
                daemon.supervise(supervisor)
            else:
                daemon.supervise_behind(supervisor, held.descriptors)
            return
        pids = set(proc.descendants(os.getpid()))
        if status:  # no daemon was started as it should be; but one may be there
            pids = daemon.with_port(held.numbers, pids, held.inodes)
        if pids and self._alone:
            daemon.stay(held.numbers, pids, held.inodes)
        elif pids:
            daemon.stay_behind(held.numbers, pids, held.inodes, held.descriptors)
