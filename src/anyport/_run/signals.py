"""Signals: which the runner passes on to the program, and how it leaves no other trace of itself.

The program is in the runner's process group, so what the terminal sends (Ctrl-C, a new window size, a hang-up) reaches
it without us, and passing it on would make two of one.  What a process sends, it sends to the runner it knows, for the
program it means.  The stop signals are not caught: the terminal's stop both.  When the program alone was stopped, the
runner stops itself, so that the shell sees the job stopped; SIGCONT continues both.
"""

import os

from anyport._linux import prctl, proc, signal, signalfd
from anyport._linux.signal import SIG_BLOCK, SIG_DFL, SIG_IGN, SIG_SETMASK, SIGCHLD, SIGCONT, SIGPIPE, SIGXFSZ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from anyport._linux.signalfd import Siginfo

_NEVER = {  # can't be caught, or stop, or tell of a fault of our own
    signal.SIGKILL, signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU,
    signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSYS, signal.SIGTRAP,
}  # fmt: skip

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class Dispositions:
    """What the caller had us do with signals: for the program, which shall find it so."""

    def __init__(self) -> None:
        self._mask = signal.pthread_sigmask(SIG_BLOCK, ())
        self._children_ignored = signal.getsignal(SIGCHLD) == SIG_IGN

    def restore(self) -> None:
        """In the child, before exec: Python ignores two signals, and we block and wait for others."""
        for number in (SIGPIPE, SIGXFSZ):
            signal.signal(number, SIG_DFL)
        if self._children_ignored:
            signal.signal(SIGCHLD, SIG_IGN)
        signal.pthread_sigmask(SIG_SETMASK, self._mask)


class Signals:
    """All signals that can be waited for, from now on blocked, and read from the descriptor `fd`."""

    def __init__(self) -> None:
        self.before = Dispositions()
        self._continued = False
        numbers = signal.valid_signals() - _NEVER
        signal.signal(SIGCHLD, SIG_DFL)  # were it ignored, nobody could learn how a child ended
        signal.pthread_sigmask(SIG_BLOCK, numbers)
        self.fd = signalfd.signalfd(numbers)

    def pass_on(self, pid: "int | None") -> bool:
        """Pass on to the program what came and is meant for it; whether anything was to end it, whoever sent it.

        Without a pid (the program has ended, and its number may be another's) nothing is passed on.
        """
        ending = self._continued = False
        for info in signalfd.read(self.fd):
            ending = ending or info.number in _ENDING
            self._continued = self._continued or info.number == SIGCONT
            if pid is not None and info.number == SIGCONT:
                continue_program(pid)
            elif pid is not None and is_for_program(info):
                send(pid, info.number)
        return ending

    def stop_too(self, pid: int) -> None:
        """The program was stopped: stop, too, until somebody continues us; then continue it."""
        if not self._continued and SIGCONT not in signal.sigpending():  # else that is over already
            os.kill(os.getpid(), signal.SIGSTOP)
        continue_program(pid)


def is_for_program(info: "Siginfo") -> bool:
    """Whether a process sent it, on purpose: not the terminal, nor the kernel about our children."""
    return info.is_from_process and info.number not in (SIGCHLD, SIGCONT)


def continue_program(pid: int) -> None:
    """Continue the program if it is stopped: one that is running might take SIGCONT for a second one."""
    found = proc.stat(pid)
    if found is None or found.state == "T":
        send(pid, SIGCONT)


def send(pid: int, number: int) -> None:
    """Send a signal to a child that was not reaped yet; one that became another user's may be out of reach."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def end_like(status: int) -> "NoReturn":
    """End with a program's exit status, or, if that is negative, by the same signal; without a second core dump."""
    if status < 0:
        prctl.set_dumpable(False)
        if -status not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-status, SIG_DFL)
        signal.pthread_sigmask(SIG_SETMASK, ())
        os.kill(os.getpid(), -status)
    os._exit(status if status >= 0 else 128 - status)  # pid 1 can't kill itself
