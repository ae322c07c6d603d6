"""`anyport run` and what a program leaves, orphans and daemons; and the runner as process 1 of a namespace."""

import os
import signal
from pathlib import Path
from signal import SIGCONT, SIGHUP, SIGKILL, SIGSTOP, SIGTERM, SIGUSR1, SIGUSR2

import pytest

from anyport._linux import proc
from helpers.support import COMMAND, needs, needs_root, program
from helpers.terminal import PYTHON, RUN, Started, ours, started, state, status_lines, until, witness

# Orphans three processes, and waits until each has ended and been reaped; the program has no child of its own then.
ORPHANS = program("orphans.py")

# Listens, and leaves a daemon and its worker, who both have the socket.
DAEMON = program("daemon_with_worker.py")


def test_orphans_are_reaped_by_the_runner() -> None:
    """It is their parent, and leaves no zombie while the program goes on."""
    with started(*RUN, *PYTHON, ORPHANS) as runner:
        assert [runner.number(r"^parent (\d+)\n") for _ in range(3)] == [runner.pid] * 3
        assert proc.descendants(runner.pid) == [runner.number()]
        runner.end_input()
        assert runner.wait() == 7


LEAVES = ("-c", '"$@" & read line; exit 3', "sh", *witness)


def test_the_runner_ends_with_the_program() -> None:
    """Whatever else the program started; that goes on.  Shared: nothing of ours is left."""
    with started(COMMAND, "run", "--hand-over", "shared", "--", needs("sh"), *LEAVES) as runner:
        grandchild = runner.number()
        runner.type("\n")
        assert runner.wait() == 3
        assert ours() == {grandchild}
        assert runner.signals(grandchild, through=grandchild) == []


def test_a_process_in_the_background_answers_what_the_program_left() -> None:
    """Supervised: the runner ends as ever; what answers the calls of the rest stays as long as there is one."""
    with started(*RUN, needs("sh"), *LEAVES) as runner:
        grandchild = runner.number()
        runner.type("\n")
        assert runner.wait() == 3
        (keeper,) = ours() - {grandchild}
        assert os.getsid(keeper) == keeper
        assert runner.signals(grandchild, through=grandchild) == []
        os.kill(grandchild, SIGKILL)
        until(lambda: not ours(), "the end of the process in the background")
        assert runner.rest() == ""


# Ends, and leaves a child that binds and listens only then, without SO_REUSEADDR, and a grandchild of that one.
BINDS_LATE = program("binds_late.py")


def test_what_the_program_left_can_still_take_its_port() -> None:
    """Supervised: also after the runner has ended, and by a process that was started only afterwards."""
    with started(*RUN, *PYTHON, BINDS_LATE) as runner:
        first = runner.number()
        assert runner.wait() == 3
        runner.type("\n")
        assert runner.number() == first
        assert runner.number() != first
        until(lambda: not ours(), "the end of all")


def test_a_daemon_keeps_a_process_in_the_background_until_the_last_one_ends() -> None:
    """The runner itself ends with the program, and nobody keeps its pipes."""
    with started(*RUN, *PYTHON, DAEMON) as runner:
        daemon, worker = runner.number(), runner.number()
        assert runner.wait() == 0
        assert runner.rest() == ""
        (keeper,) = ours() - {daemon, worker}
        assert os.getsid(keeper) == keeper
        os.kill(daemon, SIGKILL)
        until(lambda: ours() == {worker, keeper}, "the daemon's end")
        os.kill(worker, SIGKILL)
        until(lambda: not ours(), "the end of the process in the background")


def test_the_process_in_the_background_can_be_ended() -> None:
    """By a signal, like any other; the daemon is not told."""
    with started(*RUN, *PYTHON, DAEMON) as runner:
        daemon, worker = runner.number(), runner.number()
        assert runner.wait() == 0
        (keeper,) = ours() - {daemon, worker}
        os.kill(keeper, SIGTERM)
        until(lambda: ours() == {worker, daemon}, "the end of the process in the background")


def pending(pid: int) -> set[int]:
    """The signals that wait for a process."""
    bits = int(status_lines(pid, "ShdPnd")[0], 16)
    return {number for number in signal.valid_signals() if bits >> number - 1 & 1}


class Namespace:
    """A runner that is process 1 of a pid namespace, and its program, as they are called outside."""

    def __init__(self, unshare: Started) -> None:
        self.inner = unshare.number()
        self.runner, self.program = proc.descendants(unshare.pid)


@pytest.fixture
def init() -> tuple[str, ...]:
    """What starts the runner as process 1."""
    needs_root()
    return (needs("unshare"), "--pid", "--fork", "--mount-proc", "--kill-child", *RUN)


def test_process_1_passes_signals_on(init: tuple[str, ...]) -> None:
    """Those that are sent from outside, by whom it can't see."""
    with started(*init, *witness) as outside:
        inside = Namespace(outside)
        for number in (SIGTERM, SIGHUP, signal.SIGINT, SIGUSR1, signal.SIGRTMIN):
            os.kill(inside.runner, number)
            assert outside.signals(inside.inner, number, through=inside.runner) == [f"{int(number)}:0"]


def test_process_1_reaps_orphans_and_passes_the_status(init: tuple[str, ...]) -> None:
    """There is no other who would."""
    with started(*init, *PYTHON, ORPHANS) as outside:
        assert [outside.number(r"^parent (\d+)\n") for _ in range(3)] == [1, 1, 1]
        Namespace(outside)
        outside.end_input()
        assert outside.wait() == 7


@pytest.mark.parametrize("number", [SIGTERM, SIGKILL, signal.SIGSEGV])
def test_process_1_can_not_die_by_a_signal(number: int, init: tuple[str, ...], tmp_path: Path) -> None:
    """It ends with 128 and the number, as a shell says it."""
    with started(*init, needs("sh"), "-c", f"kill -{int(number)} $$", cwd=tmp_path) as outside:
        assert outside.wait() == 128 + number


def test_process_1_leaves_a_stopped_program_stopped(init: tuple[str, ...]) -> None:
    """It can't stop itself, but the program waits all the same until somebody continues it."""
    with started(*init, *witness) as outside:
        inside = Namespace(outside)
        os.kill(inside.program, SIGSTOP)
        until(lambda: state(inside.program) == "T" or "18:" in outside.unread(), "the stop")
        os.kill(inside.runner, SIGUSR1)
        until(lambda: pending(inside.program) or outside.unread(), "the first signal")
        os.kill(inside.runner, SIGUSR2)  # when this one comes, all that came before the first was dealt with
        until(lambda: len(pending(inside.program)) == 2 or outside.unread(), "the second signal")
        assert (state(inside.program), outside.unread()) == ("T", "")
        os.kill(inside.runner, SIGCONT)
        assert outside.signals(inside.inner, SIGUSR1, SIGUSR2, through=inside.runner) == ["10:0", "12:0", "18:0"]
