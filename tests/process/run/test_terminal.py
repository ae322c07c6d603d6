"""`anyport run` on a terminal: keys, window sizes, the job control of a real shell, an editor."""

import os
from collections.abc import Iterator
from pathlib import Path
from signal import SIGCONT, SIGINT, SIGQUIT, SIGSTOP, SIGTSTP, SIGWINCH

import pytest

from anyport._linux import proc
from helpers.support import COMMAND, needs, program
from helpers.terminal import (
    BASH,
    PYTHON,
    RUN,
    WITNESS,
    Started,
    on_terminal,
    shell,
    state,
    status_lines,
    until,
    witness,
)

KERNEL = 128  # SI_KERNEL: the terminal sent it
ANYPORT = f"{COMMAND} run --"
with_and_without = pytest.mark.parametrize("prefix", ["", ANYPORT], ids=["direct", "run"])

TIDY = program("tidy.py")
INNER = " ".join(BASH)
UNSTOPPABLE = TIDY.replace("tidy)", "signal.SIG_IGN)")


@pytest.fixture
def bash() -> Iterator[Started]:
    """An interactive shell."""
    with shell() as started:
        yield started


def python_file(folder: Path, code: str) -> str:
    """A command line that runs this code."""
    (folder / "program.py").write_text(code)
    return f"{PYTHON[0]} -I -S {folder / 'program.py'}"


def runner_of(program: int, prefix: str) -> int:
    """The process that the shell knows."""
    return int(status_lines(program, "PPid")[0]) if prefix else program


@pytest.mark.parametrize(("key", "number"), [("\x03", SIGINT), ("\x1c", SIGQUIT)])
def test_a_key_reaches_the_program_once(key: str, number: int) -> None:
    """Ctrl-C and Ctrl-\\ are sent to the group by the terminal, and not passed on by the runner."""
    with on_terminal(*RUN, *witness) as runner:
        program = runner.number()
        for _ in range(3):
            runner.type(key)
            assert runner.signals(program, number) == [f"{int(number)}:{KERNEL}"]


def test_a_new_window_size_reaches_the_program_once() -> None:
    """The terminal tells the group."""
    with on_terminal(*RUN, *witness) as runner:
        program = runner.number()
        for rows in (31, 41):
            runner.resize(rows, 121)
            assert runner.signals(program, SIGWINCH) == [f"{int(SIGWINCH)}:{KERNEL}"]


def test_the_terminal_is_the_callers(bash: Started) -> None:
    """Its size and its name."""
    bash.resize(33, 99)
    bash.type(f"stty size; tty; {ANYPORT} stty size; {ANYPORT} tty\n")
    bash.expect("^(33 99\n/dev/pts/.*\n)\\1")


def test_ctrl_c_ends_a_script(bash: Started) -> None:
    """The shell that runs it sees that the program died by SIGINT, and does not go on."""
    bash.type(f"bash -c \"while {ANYPORT} sh -c 'echo running; read x'; do :; done; echo after\"\n")
    bash.expect("^running\n")
    bash.type("\x03")
    assert bash.status() == 128 + SIGINT
    assert "after" not in bash.unread()


@pytest.mark.parametrize("before", [(), RUN], ids=["direct", "run"])
def test_a_hang_up_reaches_the_program_once(before: tuple[str, ...], tmp_path: Path) -> None:
    """When the terminal is closed."""
    log = tmp_path / "log"
    with on_terminal(needs("sh"), "-c", 'exec "$@" > "$0"', str(log), *before, *witness) as leader:
        until(lambda: log.exists() and "ready" in log.read_text(), "the program")
        leader.hang_up()
        until(lambda: " 1:" in log.read_text(), "SIGHUP")
        leader.mark()
        until(lambda: " 64:" in log.read_text(), "the mark")
        assert log.read_text().count(" 1:") == 1


@with_and_without
def test_ctrl_z_fg_and_bg(prefix: str, bash: Started, tmp_path: Path) -> None:
    """The job is stopped; `fg` and `bg` continue it with one SIGCONT, and what is in front has the keys."""
    bash.type(f"{prefix} {python_file(tmp_path, WITNESS)}\n")
    program = bash.number()
    runner = runner_of(program, prefix)
    for command in ("fg", "bg"):
        bash.type("\x1a")
        bash.expect("Stopped")
        assert bash.status() == 128 + SIGTSTP
        until(lambda: state(program) == state(runner) == "T", "the stop of both")
        bash.type(f"{command}\n")
        assert bash.signals(program, SIGCONT, through=runner) == ["18:0"]
        if command == "fg":
            bash.type("\x03")
            assert bash.signals(program, SIGINT, through=runner) == [f"2:{KERNEL}"]
    bash.type("jobs\n")
    bash.expect("Running")


@with_and_without
def test_the_shell_sees_a_program_that_is_stopped(prefix: str, bash: Started, tmp_path: Path) -> None:
    """By `kill -STOP`; `fg` continues it with one SIGCONT."""
    bash.type(f"{prefix} {python_file(tmp_path, WITNESS)}\n")
    program = bash.number()
    runner = runner_of(program, prefix)
    os.kill(program, SIGSTOP)
    bash.expect("Stopped")
    assert bash.status() == 128 + SIGSTOP
    bash.type("fg\n")
    assert bash.signals(program, SIGCONT, through=runner) == ["18:0"]
    bash.type("\x03")
    assert bash.signals(program, SIGINT, through=runner) == [f"2:{KERNEL}"]


@with_and_without
def test_the_shell_sees_a_program_that_stops_itself(prefix: str, bash: Started) -> None:
    """Like one that was stopped by a key."""
    bash.type(f"{prefix} sh -c 'kill -STOP $$; echo went on; read x; echo got $x; exit 3'\n")
    bash.expect("Stopped")
    assert bash.status() == 128 + SIGSTOP
    bash.type("fg\n")
    bash.expect("^went on\n")
    bash.type("this\n")
    bash.expect("^got this\n")
    assert bash.status() == 3


@with_and_without
def test_a_program_that_ctrl_z_does_not_stop_stays_in_front(prefix: str, bash: Started, tmp_path: Path) -> None:
    """One that ignores SIGTSTP."""
    bash.type(f"{prefix} {python_file(tmp_path, UNSTOPPABLE)}\n")
    bash.number()
    bash.type("\x1aline\n")
    bash.expect("^read line\n|Stopped")
    bash.type("\x04")
    assert bash.status() == 0
    assert "Stopped" not in bash.unread()


@with_and_without
def test_a_program_may_tidy_up_at_ctrl_z(prefix: str, bash: Started, tmp_path: Path) -> None:
    """The shell has the terminal when the program has stopped, and not before."""
    bash.type(f"{prefix} {python_file(tmp_path, TIDY)}\n")
    bash.number()
    bash.type("\x1a")
    assert bash.expect("tidied up|Stopped")[0] == "tidied up"
    bash.expect("Stopped")
    assert bash.status() == 128 + SIGTSTP
    bash.type("fg\nline\n")
    bash.expect("^read line\n")


@with_and_without
def test_a_program_in_front_reads_from_the_terminal(prefix: str, bash: Started) -> None:
    """`cat`, until Ctrl-D."""
    bash.type(f"{prefix} cat\nsome\n")
    bash.expect("^some\n")
    bash.type("more\n")
    bash.expect("^more\n")
    bash.type("\x04")
    assert bash.status() == 0


def assert_stopped_in_the_background(bash: Started) -> None:
    """The job whose pid the shell has printed, and the shell knows it."""
    job = bash.number(r"^pid=(\d+)\n")
    assert bash.status() == 0
    until(lambda: state(job) == "T", "the stop")
    bash.type("jobs\n")
    bash.expect("Stopped")
    assert bash.status() == 0


@with_and_without
def test_a_program_in_the_background_is_stopped_when_it_reads(prefix: str, bash: Started) -> None:
    """`cat &` stops by SIGTTIN, and goes on with `fg`."""
    bash.type(f"{prefix} cat & echo pid=$!\n")
    assert_stopped_in_the_background(bash)
    bash.type("fg\nhello\n")
    bash.expect("^hello\n")
    bash.type("\x04")
    assert bash.status() == 0


@with_and_without
def test_a_program_in_the_background_is_stopped_when_it_writes(prefix: str, bash: Started) -> None:
    """By SIGTTOU, if the terminal is set so."""
    bash.type(f"stty tostop; {prefix} echo written & echo pid=$!\n")
    assert_stopped_in_the_background(bash)
    bash.type("fg\n")
    bash.expect("^written\n")
    assert bash.status() == 0


@with_and_without
def test_a_shell_with_jobs_of_its_own(prefix: str, bash: Started) -> None:
    """It takes the terminal for its jobs and gives it back."""
    bash.type(f"{prefix} {INNER}\n")
    assert bash.status() == 0
    bash.type("sleep 100\n")
    for key, number, shown in (("\x1a", SIGTSTP, "Stopped.*sleep"), ("\x03", SIGINT, "")):
        until(lambda: proc.comm(bash.in_front()) == "sleep", "the job")
        bash.type(key)
        bash.expect(shown)
        assert bash.status() == 128 + number
        bash.type("fg\n")
    bash.type("exit 5\n")
    assert bash.status() == 1, "there is no job left"
    assert bash.status() == 5


@with_and_without
def test_a_shell_that_is_suspended(prefix: str, bash: Started) -> None:
    """It has the terminal again when it is continued."""
    bash.type(f"{prefix} {INNER}\n")
    assert bash.status() == 0
    bash.type("suspend\n")
    bash.expect("Stopped.*bash")
    assert bash.status() == 128 + SIGSTOP
    bash.type("fg\n")
    bash.status()
    bash.type("exit 5\n")
    assert bash.status() == 5


@with_and_without
def test_an_editor(prefix: str, bash: Started, tmp_path: Path) -> None:
    """Types, is stopped by Ctrl-Z, comes back, writes its file."""
    file = tmp_path / "text"
    bash.type(f"{prefix} {needs('vi')} -u NONE -i NONE -n {file}\n")
    bash.expect("text.*New")
    bash.type("ihello\x1b")
    bash.expect("hello")
    bash.type("\x1a")
    bash.expect("Stopped")
    assert not file.exists()
    assert bash.status() == 128 + SIGTSTP
    bash.type("fg\n")
    bash.expect("hello")
    bash.type("A world\x1b:wq\r")
    assert bash.status() == 0
    assert file.read_text() == "hello world\n"
