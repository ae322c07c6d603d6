"""signal(7): the C half of Python's signal module.  The other half makes enums of the numbers, 2 ms at start."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
else:
    import _signal

SIG_BLOCK, SIG_UNBLOCK, SIG_SETMASK = _signal.SIG_BLOCK, _signal.SIG_UNBLOCK, _signal.SIG_SETMASK
SIG_DFL, SIG_IGN = _signal.SIG_DFL, _signal.SIG_IGN
SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGKILL = (
    _signal.SIGHUP, _signal.SIGINT, _signal.SIGQUIT, _signal.SIGTERM, _signal.SIGKILL,
)  # fmt: skip
SIGUSR1 = _signal.SIGUSR1
SIGCHLD, SIGCONT, SIGSTOP = _signal.SIGCHLD, _signal.SIGCONT, _signal.SIGSTOP
SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGSYS, SIGTRAP = (
    _signal.SIGSEGV, _signal.SIGBUS, _signal.SIGFPE, _signal.SIGILL, _signal.SIGSYS, _signal.SIGTRAP,
)  # fmt: skip
SIGPIPE, SIGXFSZ = _signal.SIGPIPE, _signal.SIGXFSZ

getsignal = _signal.getsignal
pidfd_send_signal = _signal.pidfd_send_signal
pthread_sigmask = _signal.pthread_sigmask
signal = _signal.signal
sigpending = _signal.sigpending
sigtimedwait = _signal.sigtimedwait
valid_signals = _signal.valid_signals


def be_usual() -> None:
    """End by signals from here on like any other process, whatever was ignored, caught or blocked before."""
    for number in (SIGINT, SIGPIPE, SIGHUP, SIGTERM):
        signal(number, SIG_DFL)
    pthread_sigmask(SIG_SETMASK, ())
