"""One started program, until it ends: signals are passed on, readiness is seen and told, limits are kept."""

import os
import select
import time

from anyport._clock import pauses
from anyport._find.remarks import some
from anyport._linux import proc, signal
from anyport._run import signals
from anyport._run.readiness import Readiness, bound_instead, unseen
from anyport.errors import AnyportError, NotReady

TYPE_CHECKING = False
if TYPE_CHECKING:
    from anyport._run.conflict import Attempts
    from anyport._run.handover import HandOver
    from anyport._run.plan import Plan
    from anyport._run.report import Report
    from anyport._supervise.supervisor import Supervisor

_GRACE = 10.0  # seconds that a program may take to end after SIGTERM
_FIRST, _AWAITED, _UNAWAITED = 0.001, 0.0015, 0.25  # seconds between two looks: the first pause, and the longest
_SHARE = 10  # a pause is at least so many times as long as what the look before it cost
_NEVER = float("inf")


class Watch:
    """A program that was started as `pid`: `until_end` gives its exit status, negative for a signal.

    `failure` is why it had to be stopped, if it had to; `is_to_end` says that somebody wanted it to end, so that it is
    not started again.
    """

    def __init__(
        self, pid: int, held: "HandOver", plan: "Plan", report: "Report", supervisor: "Supervisor | None"
    ) -> None:
        self.pid = pid
        self._supervisor = supervisor
        self.readiness = Readiness(held.numbers)
        self.failure: AnyportError | None = None
        self.is_to_end = False
        self._held = held
        self._plan = plan
        self._report = report
        now = time.monotonic()
        self._pause, self._next_look = _FIRST, now + _FIRST
        self._limit = _NEVER if plan.limit is None else now + plan.limit
        self._kill_at = _NEVER
        self._is_blind = self._has_ended = False

    def until_end(
        self, sent: "signals.Signals", attempts: "Attempts | None", *, caller: "int | None", stops: bool
    ) -> int:
        """Wait for the end.

        `attempts` are to be noted, `caller` is a descriptor that is readable when the program has to end, and `stops`
        says that a shell watches us: when the program is stopped, we are to stop too.
        """
        while True:
            is_alone = self._wait(sent, attempts, caller)
            if sent.pass_on(self.pid):
                self.is_to_end = True
            if (status := self._reap(sent, stops=stops)) is not None:
                self._has_ended = True
                return status
            if is_alone:
                self._stop()
            if time.monotonic() >= self._kill_at:
                signals.send(self.pid, signal.SIGKILL)
                self._kill_at = _NEVER
            self._look_in_time()

    def _wait(self, sent: "signals.Signals", attempts: "Attempts | None", caller: "int | None") -> bool:
        """Wait for whatever comes first; whether that is the end of our caller, or of whoever waits for us."""
        poll = select.poll()
        poll.register(sent.fd, select.POLLIN)
        supervisor = self._supervisor
        if supervisor and not supervisor.is_over:
            poll.register(supervisor.fd, select.POLLIN)
        if attempts and self.readiness.has_begun:
            attempts.close()
        for fd in attempts.descriptors if attempts else ():
            poll.register(fd, select.POLLIN)
        watched = {caller: select.POLLIN, self._report.pipe: 0} if self._kill_at == _NEVER else {}
        for each, mask in watched.items():
            if each is not None:
                poll.register(each, mask)  # 0: nothing but an error, which is that nobody reads the pipe any more
        came = self._what_came(poll)
        if attempts:
            attempts.note()
        return any(fd in watched for fd in came)

    def _what_came(self, poll: "select.poll") -> "list[int]":
        """The descriptors; as long as only calls of the program come, they are answered here, without a detour."""
        while True:
            events = poll.poll(self._milliseconds())
            supervisor = self._supervisor
            if supervisor is None or (supervisor.fd, select.POLLIN) not in events:
                return [fd for fd, _ in events]
            was_ready = self.readiness.is_complete
            self._serve(supervisor)
            if len(events) > 1 or self._milliseconds() == 0 or self.readiness.is_complete != was_ready:
                return [fd for fd, _ in events]

    def look(self) -> None:
        """Look whether the program is ready, and tell it; if that can't be done, stop the program."""
        if self.readiness.is_complete or self.failure:
            return
        try:
            is_ready = self.readiness.look()
        except OSError as error:
            self._be_blind(error)
        else:
            if is_ready:
                self._tell_ready()

    def _tell_ready(self) -> None:
        try:
            if not self._report.ready():
                self._stop()  # whoever waited for it is gone
        except AnyportError as error:  # the port file
            self.fail(error)

    def _serve(self, supervisor: "Supervisor") -> None:
        """Answer a call of the program; if it was the one that makes it ready, that is told at once."""
        number = supervisor.serve()
        if number and not self.readiness.is_complete:
            self.readiness.has(number)
            if self.readiness.is_complete and not self.failure:
                self._tell_ready()

    def _rest(self, seconds: float) -> None:
        """Wait so long, and answer what the program's processes call meanwhile."""
        supervisor = self._supervisor
        if supervisor is None or supervisor.is_over:
            time.sleep(seconds)
        elif supervisor.wait(seconds):
            self._serve(supervisor)

    def wait_for_daemon(self, sent: "signals.Signals") -> None:
        """The program ended well: go on looking while it has descendants, one of which may be about to listen."""
        for _ in pauses(self._limit - time.monotonic(), longest=_AWAITED, sleep=self._rest):
            _reap_all()
            self.look()
            if self.readiness.is_complete or self.failure or not proc.descendants(os.getpid()):
                return
            if sent.pass_on(None):
                self._stop()
                return
        self.fail(self._too_late())

    def fail(self, failure: AnyportError) -> None:
        """Stop the program for this reason."""
        self.failure = self.failure or failure
        self._stop()

    def end_descendants(self) -> None:
        """End what the program left of its tree, at first by asking: for when it was stopped by us."""
        me = os.getpid()
        for number, patience in ((signal.SIGTERM, 2.0), (signal.SIGKILL, 1.0)):
            signals.send_to_descendants(number)
            for _ in pauses(patience, sleep=self._rest):
                _reap_all()
                if not proc.descendants(me):
                    return

    def _is_waiting(self) -> bool:
        return not (self.readiness.is_complete or self._is_blind) and self._kill_at == _NEVER

    def _is_looking(self) -> bool:
        """Whether the socket table has to tell; else the supervisor does."""
        return self._is_waiting() and (self._supervisor is None or self._supervisor.is_lost)

    def _milliseconds(self) -> "float | None":
        now, rest = time.monotonic(), self._supervisor.rest if self._supervisor else None
        times = [self._kill_at, _NEVER if rest is None else now + rest]
        if self._is_waiting():
            times += [self._limit, self._next_look if self._is_looking() else _NEVER]
        return None if min(times) == _NEVER else max(0.0, min(times) - now) * 1000

    def _look_in_time(self) -> None:
        if self._supervisor:
            self._supervisor.tidy()
        if self._is_looking() and time.monotonic() >= self._next_look:
            self._look_now()
        if self._is_waiting() and time.monotonic() >= self._limit:
            self.fail(self._too_late())

    def _look_now(self) -> None:
        before = time.thread_time()  # not the clock's: what others do to us meanwhile must not make us wait longer
        self.look()
        now, cost = time.monotonic(), time.thread_time() - before
        self._pause = min(self._pause * 2, _AWAITED if self._plan.is_awaited else _UNAWAITED)
        self._next_look = now + max(self._pause, _SHARE * cost)

    def _reap(self, sent: "signals.Signals", *, stops: bool) -> "int | None":
        """Take note of children that ended or stopped; the program's status if it ended."""
        ended, is_to_continue = None, False
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            except ChildProcessError:
                return ended
            if not pid:
                if is_to_continue:
                    signals.continue_program(self.pid)
                return ended
            if pid == self.pid and os.WIFSTOPPED(status):
                is_to_continue = stops and sent.stop_too(pid, os.WSTOPSIG(status))
            elif pid == self.pid:
                ended = os.waitstatus_to_exitcode(status)

    def _stop(self) -> None:
        """End the program, at first by asking; what it left, if it has ended itself."""
        if self._has_ended:
            self.end_descendants()
        elif self._kill_at == _NEVER:
            self.is_to_end = True
            self._kill_at = time.monotonic() + _GRACE
            signals.send(self.pid, signal.SIGTERM)
            signals.continue_program(self.pid)

    def _too_late(self) -> NotReady:
        ports, limit = some(self._held.ports), f"{self._plan.limit:g} s"
        message = f"the program was stopped: not listening on {ports} within {limit}; "
        hint = "a longer time-out (--ready-timeout 2m) gives it more time"
        if hidden := unseen(self._held.numbers):
            message += f"who listens on {', '.join(hidden)} can't be seen, so it may be the program"
            hint = "a program that hides itself (PR_SET_DUMPABLE, set-uid) can be seen by root; or do not wait for it"
        elif instead := bound_instead():
            message += f"it listens on {', '.join(instead)}"
            hint = "give it the number as an argument: {port} stands for it"
        else:
            message += "it listens on no port at all"
        return NotReady(message, hint=hint)

    def _be_blind(self, error: OSError) -> None:
        """The socket table can't be seen: that matters only if somebody waits for what it would show."""
        self._is_blind = True
        if self._plan.is_awaited:
            why = AnyportError(
                f"whether the program listens can't be seen: {error}",
                hint="without --port-file and --detach nobody has to know",
            )
            self.fail(why)


def _reap_all() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return
