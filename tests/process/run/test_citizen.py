"""`anyport run` is as if it were not there: signals that are sent to it, how it ends."""

import os
import signal
import subprocess
from pathlib import Path
from signal import SIGCHLD, SIGCONT, SIGHUP, SIGKILL, SIGSTOP, SIGTERM, SIGUSR1

import pytest

from helpers.support import needs, python
from helpers.terminal import MARK, PYTHON, RUN, WITNESS, Started, both, started, state, status_lines, until, witness

FAULTS = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSYS, signal.SIGTRAP}
STOPS = {signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}


def stopped(runner: Started, *pids: int) -> None:
    until(lambda: {state(pid) for pid in (*pids, runner.pid)} == {"T"}, "the stop")


def test_each_signal_of_a_process_reaches_the_program_once() -> None:
    """Whichever can be caught, but for those that stop, those that tell of a fault, and SIGCHLD."""
    with started(*RUN, *witness) as runner:
        program = runner.number()
        for number in sorted(signal.valid_signals() - FAULTS - STOPS - {SIGKILL, SIGSTOP, SIGCHLD, SIGCONT, MARK}):
            os.kill(runner.pid, number)
            code = signal.Signals(number).name if number in set(signal.Signals) else number
            assert runner.signals(program, number) == [f"{int(number)}:0"], code


def test_a_signal_that_the_program_sends_to_its_own_group_comes_once() -> None:
    """`kill 0` in a script reaches the runner too, and the script has it already."""
    code = f"import os, signal; signal.pthread_sigmask(0, {{10}}); os.killpg(0, 10)\n{WITNESS}"
    with started(needs("setsid"), *RUN, *PYTHON, code) as runner:
        assert runner.signals(runner.number(), SIGUSR1) == ["10:0"]


@pytest.mark.parametrize("how", ["kill", "raise"])
def test_when_the_program_is_stopped_the_runner_is_and_continues_it(how: str) -> None:
    """By `kill -STOP`, or when it stops itself; it gets one SIGCONT."""
    code = WITNESS if how == "kill" else WITNESS.replace("while", "os.kill(os.getpid(), signal.SIGSTOP)\nwhile")
    with started(*RUN, *PYTHON, code) as runner:
        program = runner.number()
        if how == "kill":
            os.kill(program, SIGSTOP)
        stopped(runner, program)
        os.kill(runner.pid, SIGCONT)
        assert runner.signals(program, SIGCONT) == ["18:0"]
        assert state(runner.pid) != "T"


def test_each_stop_waits_to_be_continued() -> None:
    """However soon a program stops itself again."""
    code = "import os\nfor n in range(20): os.write(1, b'ready %d\\n' % n); os.kill(os.getpid(), 19)"
    with started(*RUN, *PYTHON, code) as runner:
        for number in range(20):
            assert runner.number() == number
            stopped(runner)
            assert runner.unread() == ""
            os.kill(runner.pid, SIGCONT)
        assert runner.wait() == 0


def test_a_running_program_is_not_continued() -> None:
    """It might take it for a return to the foreground."""
    with started(*RUN, *witness) as runner:
        program = runner.number()
        os.kill(runner.pid, SIGCONT)
        assert runner.signals(program) == []


def test_the_runners_death_is_told_to_the_program_only() -> None:
    """SIGTERM to the direct child; a grandchild hears nothing."""
    script = '"$@" & exec "$@"'
    with started(*RUN, needs("sh"), "-c", script, "sh", *witness) as runner:
        pids = {runner.number(), runner.number()}
        (program,) = (pid for pid in pids if status_lines(pid, "PPid") == [str(runner.pid)])
        (grandchild,) = pids - {program}
        os.kill(runner.pid, SIGKILL)
        assert runner.signals(program, SIGTERM, through=program) == ["15:0"]
        assert runner.signals(grandchild, through=grandchild) == []
        assert runner.wait() == -SIGKILL


# Has these signals ignored, blocks those, and becomes the program.
CALLER = """
import os, signal, sys
ignored, blocked, *command = sys.argv[1:]
for number in (signal.SIGPIPE, signal.SIGXFSZ):
    signal.signal(number, signal.SIG_DFL)
for number in map(int, ignored.split()):
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_SETMASK, map(int, blocked.split()))
os.execv(command[0], command)
"""


@pytest.mark.parametrize(
    ("ignored", "blocked"),
    [
        ("", ""), ("17", ""), ("2", ""), ("1 3 14 15 20 21 22 23 28 40", ""),
        ("", "2 10 15 17 18 20 34"), ("17 2", "13 17 25"),
    ],
)  # fmt: skip
def test_the_program_finds_its_signals_as_the_caller_had_them(ignored: str, blocked: str) -> None:
    """Blocked and ignored ones, none pending; what Python does to SIGINT, SIGPIPE and SIGXFSZ is undone."""
    caller = (*PYTHON, CALLER, ignored, blocked)
    show = (needs("grep"), "-E", "^(Sig|Shd)(Blk|Ign|Cgt|Pnd)", "/proc/self/status")
    direct, run = (
        subprocess.run([needs("env"), "--default-signal", *caller, *before, *show], capture_output=True, check=True)
        for before in ((), RUN)
    )
    assert run.stdout == direct.stdout
    own = 0b11 << 31  # 32 and 33 are the C library's: make starts its children with both ignored
    assert (int(direct.stdout.split(b"SigIgn:")[1].split()[0], 16) & ~own).bit_count() == len(ignored.split())


def test_nohup_works() -> None:
    """SIGHUP stays ignored in the program, and does not end the runner."""
    code = "import os; os.write(1, b'ready %d\\n' % os.getpid()); os.read(0, 1); os._exit(9)"
    with started(needs("nohup"), *RUN, *PYTHON, code) as runner:
        runner.number()
        os.kill(runner.pid, SIGHUP)
        runner.type("x")
        assert runner.wait() == 9


def test_a_signal_between_fork_and_exec_is_not_lost() -> None:
    """Ctrl-C in that moment ends the program like in any other."""
    code = """
import os, signal
from pathlib import Path
from anyport._run import signals, program
signal.signal(signal.SIGINT, signal.default_int_handler)
child = program.Child("/bin/sleep", ["sleep", "60"], os.environ)
def forked():
    os.kill(int(Path(f"/proc/self/task/{os.getpid()}/children").read_text()), signal.SIGINT)
print(os.waitstatus_to_exitcode(os.waitpid(child.start(signals.Signals().before, forked, print), 0)[1]))
"""
    assert (python(code).stdout, python(code).stderr) == ("-2\n", "")


@pytest.mark.parametrize("status", [0, 1, 7, 125, 126, 127, 255])
def test_an_exit_status_is_passed(status: int) -> None:
    """Those that are our own too."""
    assert [done.returncode for done in both(needs("sh"), "-c", f"exit {status}")] == [status] * 2


def test_what_can_not_be_started_ends_as_in_a_shell(tmp_path: Path) -> None:
    """127 when it is not found, 126 when it can't be executed."""
    (tmp_path / "data").write_text("x")
    shell = [needs("sh"), "-c", '"$@"', "sh"]
    for words, status in (
        (["no-such-program"], 127), ([str(tmp_path / "nothing")], 127),
        ([str(tmp_path / "data")], 126), ([str(tmp_path)], 126),
    ):  # fmt: skip
        done = [subprocess.run([*before, *words], capture_output=True, check=False) for before in (shell, RUN)]
        assert [each.returncode for each in done] == [status] * 2
        assert b"hint: " in done[1].stderr


@pytest.mark.parametrize("number", [1, 2, 3, 6, 8, 9, 11, 13, 14, 15, 24, 31, 34, 64])
def test_the_runner_dies_by_the_programs_signal(number: int, tmp_path: Path) -> None:
    """And leaves no core dump of its own."""
    code = (
        f"import os, signal; [signal.signal(n, 0) for n in (2, 13, 25)]; os.kill(os.getpid(), {number}); os.read(0, 1)"
    )
    script = 'ulimit -S -c "$(ulimit -H -c)"; exec "$@"'
    with started(needs("sh"), "-c", script, "sh", *RUN, *PYTHON, code, cwd=tmp_path) as runner:
        assert runner.died() == (os.CLD_KILLED, number)
        assert runner.unread() == ""


def test_another_signal_that_came_too_late_changes_nothing() -> None:
    """The program died by SIGTERM, and SIGHUP came when it was dead."""
    code = """
import os, signal
from anyport._run import signals
sent = signals.Signals()
os.kill(os.getpid(), signal.SIGHUP)
signals.end_like(-signal.SIGTERM)
"""
    assert python(code).returncode == -SIGTERM
