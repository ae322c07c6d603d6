"""Signals: which the runner passes on to the program, and how it leaves no other trace of itself.

The program is in the runner's process group, so what the terminal sends (Ctrl-C, a new window size, a hang-up) reaches
it without us, and passing it on would make two of one.  What a process sends, it sends to the runner it knows, for the
program it means.

That holds for the stop signals, too.  Were they left alone, Ctrl-Z would stop the runner before, or without, a program
that ignores it or has to tidy up first, and the shell would take the terminal from under it.  So the runner stops when
the program was stopped, and not earlier; SIGCONT continues both.
"""

import os

from anyport._linux import pidfd, prctl, proc, signal, signalfd
from anyport._linux.signal import SIG_BLOCK, SIG_DFL, SIG_IGN, SIG_SETMASK, SIG_UNBLOCK, SIGCHLD, SIGCONT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from anyport._linux.signalfd import Siginfo

_NEVER = {  # can't be caught, or tell of a fault of our own
    signal.SIGKILL, signal.SIGSTOP,
    signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSYS, signal.SIGTRAP,
}  # fmt: skip

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class Dispositions:
    """Remember what the caller had us do with signals, for the program, which shall find it so."""

    def __init__(self) -> None:
        self._mask = signal.pthread_sigmask(SIG_BLOCK, ())
        self._children_ignored = signal.getsignal(SIGCHLD) == SIG_IGN

    def restore(self) -> None:
        """Undo, in the child and before exec, that Python ignores two signals, and that we block others."""
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, SIG_DFL)
        if signal.getsignal(signal.SIGINT) != SIG_IGN:  # Python's handler would make an exception of it
            signal.signal(signal.SIGINT, SIG_DFL)
        if self._children_ignored:
            signal.signal(SIGCHLD, SIG_IGN)
        signal.pthread_sigmask(SIG_SETMASK, self._mask)


class Signals:
    """Block all signals that can be waited for, to read them from the descriptor `fd`."""

    def __init__(self) -> None:
        self.before = Dispositions()
        numbers = signal.valid_signals() - _NEVER
        signal.signal(SIGCHLD, SIG_DFL)  # were it ignored, nobody could learn how a child ended
        signal.pthread_sigmask(SIG_BLOCK, numbers)
        self.fd = signalfd.signalfd(numbers)

    def pass_on(self, pid: "int | None") -> bool:
        """Pass on to the program what came and is meant for it; tell whether anything was to end it, whoever sent it.

        Without a pid (the program has ended, and its number may be another's) nothing is passed on.
        """
        ending = False
        for info in signalfd.read(self.fd):
            ending = ending or info.number in _ENDING
            if pid is not None and info.number == SIGCONT:
                continue_program(pid)
            elif pid is not None and is_for_program(info):
                send(pid, info.number)
        return ending

    def stop_too(self, pid: int, number: int) -> bool:
        """Stop like the program, which this signal stopped; tell whether we were continued, and it has to be as well.

        Process 1 can't be stopped: then it goes on waiting, for SIGCONT too.
        """
        if SIGCONT not in signal.sigpending():  # else that is over already
            terminal = Terminal(pid)
            stop(number)
            terminal.give_back()
        return signal.sigtimedwait({SIGCONT}, 0) is not None


def stop(number: int) -> None:
    """Stop ourselves by a signal that is blocked."""
    if number == signal.SIGSTOP:
        os.kill(os.getpid(), number)
        return
    before = signal.getsignal(number)
    signal.signal(number, SIG_DFL)
    os.kill(os.getpid(), number)
    signal.pthread_sigmask(SIG_UNBLOCK, {number})
    signal.pthread_sigmask(SIG_BLOCK, {number})
    signal.signal(number, before)


def is_for_program(info: "Siginfo") -> bool:
    """Tell whether the program has not got the signal by itself: from the terminal, or by its own `kill 0`."""
    if info.number in (SIGCHLD, SIGCONT):
        return False
    if not info.is_from_process:
        return info.number == signal.SIGHUP and os.getsid(0) == os.getpid()  # the kernel tells the leader alone
    return not (_is_in_our_group(info.pid) and info.pid in proc.descendants(os.getpid()))


def _is_in_our_group(pid: int) -> bool:
    try:
        return pid > 0 and os.getpgid(pid) == os.getpgrp()
    except OSError:
        return False


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


def send_to_descendants(number: int) -> None:
    """Send a signal to all descendants of this process, and to none that has the number of one that ended meanwhile."""
    try:
        opened = pidfd.descendants(os.getpid())
    except OSError:  # a sandbox without pidfds, or there are more than we may have: by number, as near as can be
        for pid in proc.descendants(os.getpid()):
            send(pid, number)
        return
    for fd in opened:
        try:
            signal.pidfd_send_signal(fd, number)
        except (ProcessLookupError, PermissionError):
            continue
        finally:
            os.close(fd)


def end_like(status: int) -> "NoReturn":
    """End with a program's exit status, or, if that is negative, by the same signal; without a second core dump."""
    if status < 0:
        prctl.set_dumpable(False)
        if -status in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(-status, SIG_DFL)
            signal.pthread_sigmask(SIG_UNBLOCK, {-status})
        os.kill(os.getpid(), -status)
    os._exit(status if status >= 0 else 128 - status)  # pid 1 can't kill itself


class Terminal:
    """Remember whether the program's own group had the terminal at the moment when the program was stopped."""

    def __init__(self, pid: int) -> None:
        self._group = 0
        try:
            group = os.getpgid(pid)
            if group != os.getpgrp() and _foreground() == group:
                self._group = group
        except OSError:  # no terminal
            return

    def give_back(self) -> None:
        """Give the terminal to that group again, if we have got it meanwhile: the shell above knows only ours."""
        try:
            if self._group and _foreground() == os.getpgrp():
                _foreground(self._group)
        except OSError:
            return


def _foreground(group: int = 0) -> int:
    """Return the foreground group of our terminal; if a group is named, make it that first (tcsetpgrp(3))."""
    fd = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        if group:
            os.tcsetpgrp(fd, group)
        return os.tcgetpgrp(fd)
    finally:
        os.close(fd)
