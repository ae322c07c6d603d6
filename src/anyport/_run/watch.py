"""One started program, until it ends: signals are passed on, readiness is seen and told, limits are kept.

The states of a `Watch`, and what moves it from one to another; `deadlines` has what can fall due in each.

    start, supervised                          start, not supervised
           |                                             |
           v      a process can't be supervised          v
         TOLD -------------------------------------> LOOKING
           |                                             |
           +----------------------+----------------------+
                                  |
             it is ready, or that | too late, or it could not be told;
             can't be seen        | the caller is gone
                     +------------+------------+
                     v                         v
                  RUNNING ----------------> STOPPING (SIGTERM)
                       the caller is gone      | 10 s
                                               v
                                            KILLED (SIGKILL)

    any of them, when the program ends: ENDED
"""

import os
import select
import time

from anyport._clock import pauses, poll_time
from anyport._linux import proc, signal
from anyport._run import deadlines, signals
from anyport._run.deadlines import Deadlines, next_step
from anyport._run.readiness import Readiness, blind, too_late
from anyport.errors import AnyportError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from anyport._run.conflict import Attempts
    from anyport._run.handover import HandOver
    from anyport._run.plan import Plan
    from anyport._run.report import Report
    from anyport._supervise.supervisor import Supervisor


class Watch:
    """Watch a program that was started as `pid`, and is in one of the states above.

    `failure` is why it had to be stopped, if it had to; `is_to_end` says that somebody wanted it to end, so that it is
    not started again.
    """

    def __init__(
        self, pid: int, held: "HandOver", plan: "Plan", report: "Report", supervisor: "Supervisor | None"
    ) -> None:
        self.pid = pid
        self.readiness = Readiness(held.numbers)
        self.failure: AnyportError | None = None
        self.is_to_end = False
        self._held = held
        self._plan = plan
        self._report = report
        self._supervisor = supervisor
        self._state = deadlines.TOLD if supervisor else deadlines.LOOKING
        self._deadlines = Deadlines(time.monotonic(), plan.limit, is_awaited=plan.is_awaited)

    def until_end(
        self, sent: "signals.Signals", attempts: "Attempts | None", *, caller: "int | None", stops: bool
    ) -> int:
        """Wait for the program's end, and return its exit status, negative for a signal.

        `attempts` are to be noted, `caller` is a descriptor that is readable when the program has to end, and `stops`
        says that a shell watches us: when the program is stopped, we are to stop too.
        """
        while True:
            is_alone = self._wait(sent, attempts, caller)
            if sent.pass_on(self.pid):
                self.is_to_end = True
            if (status := reap(self.pid, sent, stops=stops)) is not None:
                self._state = deadlines.ENDED
                return status
            if is_alone:
                self.stop()
            self._do_what_is_due()

    @property
    def time_left(self) -> float:
        """Return the seconds in which the program has to be ready."""
        return self._deadlines.at[deadlines.GIVE_UP] - time.monotonic()

    def look(self) -> None:
        """Look whether the program is ready, and tell it; if that can't be done, stop the program."""
        if self.readiness.is_complete or self.failure:
            return
        try:
            is_ready = self.readiness.look()
        except OSError as error:  # which matters only if somebody waits for what the table would show
            self._expect_nothing()
            if self._plan.is_awaited:
                self._fail(blind(error))
        else:
            if is_ready:
                self._tell_ready()

    def _wait(self, sent: "signals.Signals", attempts: "Attempts | None", caller: "int | None") -> bool:
        """Wait for whatever comes first; tell whether that is the end of our caller, or of whoever waits for us."""
        if attempts and self.readiness.has_begun:
            attempts.close()
        is_stopping = self._state in (deadlines.STOPPING, deadlines.KILLED)
        # Nothing but an error is waited for on the pipe, which is that nobody reads it any more.
        watched = {} if is_stopping else {caller: select.POLLIN, self._report.pipe: 0}
        came = self._answer(_poll(sent.fd, self._supervisor, attempts, watched))
        if attempts:
            attempts.note()
        return any(fd in watched for fd in came)

    def _answer(self, poll: "select.poll") -> "list[int]":
        """Wait, and answer calls as long as nothing else comes or is due; return the descriptors that came."""
        while True:
            _, seconds = self._next_step()
            events = poll.poll(poll_time(seconds))
            supervisor = self._supervisor
            if supervisor is None or (supervisor.fd, select.POLLIN) not in events:
                return [fd for fd, _ in events]
            was_ready = self.readiness.is_complete
            self._serve(supervisor)
            if len(events) > 1 or self._next_step()[1] == 0 or self.readiness.is_complete != was_ready:
                return [fd for fd, _ in events]

    def _next_step(self) -> "tuple[str, float]":
        """Return what is to be done next, and in how many seconds; when it is to tidy up, the supervisor knows."""
        now = time.monotonic()
        rest = self._supervisor.rest if self._supervisor else None
        self._deadlines.at[deadlines.TIDY] = deadlines.NEVER if rest is None else now + rest
        return next_step(now, self._state, self._deadlines)

    def _do_what_is_due(self) -> None:
        while True:
            step, seconds = self._next_step()
            if seconds:
                return
            if step == deadlines.KILL:
                signals.send(self.pid, signal.SIGKILL)
                self._state = deadlines.KILLED
            elif step == deadlines.LOOK:
                self._look_on()
            elif step == deadlines.GIVE_UP:
                self.give_up()
            elif self._supervisor:
                self._supervisor.tidy()

    def _look_on(self) -> None:
        """Look, and set when the next look is due."""
        before = time.thread_time()  # not the clock's: what others do to us meanwhile must not make us wait longer
        self.look()
        self._deadlines.looked(time.monotonic(), time.thread_time() - before)

    def _serve(self, supervisor: "Supervisor") -> None:
        """Answer a call of the program; if it was the one that makes it ready, that is told at once."""
        number = supervisor.serve()
        if supervisor.is_lost and self._state == deadlines.TOLD:
            self._state = deadlines.LOOKING
        if number and not self.readiness.is_complete:
            self.readiness.has(number)
            if self.readiness.is_complete and not self.failure:
                self._tell_ready()

    def _tell_ready(self) -> None:
        self._expect_nothing()
        try:
            if not self._report.ready():
                self.stop()  # whoever waited for it is gone
        except AnyportError as error:  # the port file
            self._fail(error)

    def _expect_nothing(self) -> None:
        if self._state in (deadlines.LOOKING, deadlines.TOLD):
            self._state = deadlines.RUNNING

    def give_up(self) -> None:
        """Stop the program because its time is over."""
        self._fail(too_late(self._held.numbers, self._held.ports, self._plan.limit or 0))

    def _fail(self, failure: AnyportError) -> None:
        """Stop the program, and remember this as the reason unless there is one already."""
        self.failure = self.failure or failure
        self.stop()

    def stop(self) -> None:
        """End the program, at first by asking; if it has ended, end what it left."""
        if self._state == deadlines.ENDED:
            end_descendants(self.sleep)
        elif self._state not in (deadlines.STOPPING, deadlines.KILLED):
            self._state = deadlines.STOPPING
            self.is_to_end = True
            self._deadlines.at[deadlines.KILL] = time.monotonic() + deadlines.GRACE
            signals.send(self.pid, signal.SIGTERM)
            signals.continue_program(self.pid)

    def sleep(self, seconds: float) -> None:
        """Wait for so many seconds, and answer what the program's processes call meanwhile."""
        supervisor = self._supervisor
        if supervisor is None or supervisor.is_over:
            time.sleep(seconds)
        elif supervisor.wait(seconds):
            self._serve(supervisor)


def wait_for_daemon(watch: Watch, sent: "signals.Signals") -> None:
    """Go on looking after the program has ended well while it has descendants: one may be about to listen."""
    for _ in pauses(watch.time_left, longest=deadlines.AWAITED, sleep=watch.sleep):
        reap_all()
        watch.look()
        if watch.readiness.is_complete or watch.failure or not proc.descendants(os.getpid()):
            return
        if sent.pass_on(None):
            watch.stop()
            return
    watch.give_up()


def _poll(
    signals_fd: int, supervisor: "Supervisor | None", attempts: "Attempts | None", others: "Mapping[int | None, int]"
) -> "select.poll":
    """Return a poll object that waits for all of these at once."""
    poll = select.poll()
    poll.register(signals_fd, select.POLLIN)
    if supervisor and not supervisor.is_over:
        poll.register(supervisor.fd, select.POLLIN)
    for fd in attempts.descriptors if attempts else ():
        poll.register(fd, select.POLLIN)
    for other, mask in others.items():
        if other is not None:
            poll.register(other, mask)
    return poll


def reap(program: int, sent: "signals.Signals", *, stops: bool) -> "int | None":
    """Take note of children that ended or stopped; return the program's status if it ended."""
    ended, is_to_continue = None, False
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
        except ChildProcessError:
            return ended
        if not pid:
            if is_to_continue:
                signals.continue_program(program)
            return ended
        if pid == program and os.WIFSTOPPED(status):
            is_to_continue = stops and sent.stop_too(pid, os.WSTOPSIG(status))
        elif pid == program:
            ended = os.waitstatus_to_exitcode(status)


def reap_all() -> None:
    """Take note of all children that ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def end_descendants(sleep: "Callable[[float], None]") -> None:
    """End all descendants of this process, at first by asking; `sleep` waits for so many seconds."""
    me = os.getpid()
    for number, patience in ((signal.SIGTERM, 2.0), (signal.SIGKILL, 1.0)):
        signals.send_to_descendants(number)
        for _ in pauses(patience, sleep=sleep):
            reap_all()
            if not proc.descendants(me):
                return
