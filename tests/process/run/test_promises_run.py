"""The promise table (docs/promises.md): column `run` supervised, attacked while programs bind, listen and begin anew.

That nobody can take the port of a program that only waits, or serves, is in test_promises_hold.py.
"""

import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from anyport._clock import pauses
from anyport._linux import proc
from anyport._who import table
from helpers.attackers import BOTH, OTHER, PLAIN, REUSEADDR, REUSEPORT, SAME, Target, attack
from helpers.real_programs import FILES, HTTP, V4, V6, words
from helpers.real_runs import ask
from helpers.support import COMMAND, command_as, needs_root, private_network, program

Taken = dict[str, tuple[float, ...]]
CROWD, RUNS = 10, 20
SECONDS = 3.0
# Ten programs, each on a port of its own, that begin when they are told.
CROWDED = program("crowded.py")

PYTHON = [sys.executable, "-c", CROWDED, str(CROWD)]
# The same, one after the other; the interpreter of the tests may lie where an ordinary user can't read it.
PERL = ["perl", "-e", program("crowded.pl")]  # fmt: skip
TWO_SOCKETS = program("two_sockets.py")


class Started:
    """A run under attack, which is told when to begin, and says first which port it has."""

    def __init__(self, stack: ExitStack, line: Sequence[str], cwd: Path | None = None) -> None:
        self.process = subprocess.Popen(line, cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        stack.callback(self.process.communicate)
        self.port = int(self.line())

    def go(self) -> None:
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()


def crowd(stack: ExitStack, command: Sequence[str], how: str, programs: Sequence[str]) -> Started:
    """Ten programs in one run, with ports in a row."""
    options = ["run", "--hand-over", how, "--retries", "0", "-n", str(CROWD), "--contiguous", "--"]
    return Started(stack, [*command, *options, *programs])


def attacked(crowds: list[Started]) -> tuple[list[str], Taken]:
    """Have them bind and listen under attack: what became of them, and what the attackers took."""
    outcomes: list[str] = []

    def go(_attackers: object) -> None:
        for each in crowds:
            each.go()
        for each in crowds:
            outcomes.extend(each.line() for _ in range(CROWD))

    targets = {str(each.port + number): Target(each.port + number) for each in crowds for number in range(CROWD)}
    reports = attack(targets, seconds=SECONDS, meanwhile=go)
    assert {each["uid"] for each in reports} == {SAME, OTHER}
    assert min(each["rounds"] for each in reports) >= 5
    return outcomes, {key: each["taken"][key] for each in reports for key in each["taken"]}


def taken_by(uid: int, port: int) -> set[str]:
    """With which options this user takes the port in a short attack."""
    reports = [each for each in attack({"it": Target(port)}) if each["uid"] == uid]
    return options_in({key: each["taken"][key] for each in reports for key in each["taken"]})


def options_in(taken: Taken) -> set[str]:
    """With which options it was taken."""
    return {key.split("/")[1] for key in taken}


@pytest.mark.slow
def test_two_hundred_programs_lose_no_port() -> None:
    """Raw sockets without options, restarts, sockets that change hands: nobody gets in, not for a moment."""
    with private_network(), ExitStack() as stack:
        outcomes, taken = attacked([crowd(stack, [COMMAND], "supervised", PYTHON) for _ in range(RUNS)])
    assert outcomes == ["ok"] * CROWD * RUNS
    assert taken == {}


@pytest.mark.slow
def test_the_same_attack_wins_where_the_door_is_open() -> None:
    """The attackers who set SO_REUSEADDR come in, and programs fail."""
    with private_network(), ExitStack() as stack:
        outcomes, taken = attacked([crowd(stack, [COMMAND], "shared", PYTHON)])
    assert set(outcomes) != {"ok"}
    assert {REUSEADDR, BOTH} <= options_in(taken)
    assert PLAIN not in options_in(taken)


@pytest.mark.slow
def test_programs_of_an_ordinary_user_lose_no_port() -> None:
    """Whoever sets SO_REUSEADDR may be let in for microseconds; the programs have their ports all the same."""
    needs_root()
    with private_network(), ExitStack() as stack:
        outcomes, taken = attacked([crowd(stack, command_as(OTHER), "supervised", PERL) for _ in range(4)])
    assert outcomes == ["ok"] * CROWD * 4
    # Who came in with both leaves the mark of SO_REUSEPORT for a while, so that this alone is enough (explanation.md).
    after_both = {REUSEPORT} if BOTH in options_in(taken) else set()
    assert options_in(taken) <= {REUSEADDR, BOTH} | after_both


def test_programs_with_several_reuseport_sockets_share_them_as_they_ask_for() -> None:
    """With others of their user who set the option, while they are open; with nobody else, and with nobody after."""
    with private_network(), ExitStack() as stack:
        run = Started(stack, [COMMAND, "run", "--hand-over", "supervised", "--", sys.executable, "-c", TWO_SOCKETS])
        assert taken_by(OTHER, run.port) == set()
        assert taken_by(SAME, run.port) == {REUSEPORT, BOTH}
        run.go()
        assert run.line() == "closed"
        for _ in pauses(60):
            if not taken_by(SAME, run.port):
                break
        assert taken_by(SAME, run.port) == taken_by(OTHER, run.port) == set()


@pytest.mark.slow
@pytest.mark.parametrize("options", ["", " reuseport"])
def test_nginx_loses_no_port_when_it_starts_and_reloads(tmp_path: Path, options: str) -> None:
    """Two workers, on both families; SO_REUSEPORT is not tried, for nginx itself asks for company."""
    shutil.copytree(FILES, tmp_path, dirs_exist_ok=True)
    nginx = shlex.join(words(f"sh nginx.sh nginx off 'PORT{options}' '[::]:PORT{options}'"))
    line = [COMMAND, "run", "--hand-over", "supervised", "--", "sh", "-c", f"echo $PORT; read go; exec {nginx}"]
    with private_network(), ExitStack() as stack:
        run = Started(stack, line, tmp_path)
        stack.callback(run.process.terminate)

        def reload(_attackers: object) -> None:
            run.go()
            for _ in range(5):
                until_serving(run)
                run.process.send_signal(signal.SIGHUP)

        reports = attack({"it": Target(run.port, "tcp", (PLAIN, REUSEADDR))}, seconds=SECONDS, meanwhile=reload)
        assert not [each["taken"] for each in reports if each["taken"]]
        for host in (V4, V6):
            ask(host, run.port, *HTTP)


def until_serving(run: Started) -> None:
    """Both addresses, and both workers: before that a hang-up would end nginx."""
    for _ in pauses(60):
        addresses = {row.address for row in table.servers("tcp", run.port)}
        if addresses == {"0.0.0.0", "::"} and len(proc.descendants(run.process.pid)) >= 3:
            return
    pytest.fail(f"nginx does not serve on {run.port}")
