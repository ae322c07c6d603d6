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
from helpers.support import COMMAND, command_as, needs_root, private_network

Taken = dict[str, tuple[float, ...]]
CROWD, RUNS = 10, 20
SECONDS = 3.0
# Ten programs, each on a port of its own, that begin when they are told.
CROWDED = """
import os, random, socket, sys, time

def pause():
    time.sleep(random.uniform(0, 0.1))

def listening(port, host="127.0.0.1"):
    sock = socket.socket()
    pause()
    sock.bind((host, port))
    pause()
    sock.listen()
    pause()
    return sock

def raw(port):  # no option, and time to take the port away before each step
    return listening(port, random.choice(["127.0.0.1", ""]))

def restart(port):  # gives it up, and comes back
    for _ in range(3):
        listening(port).close()
    return listening(port)

def rebind(port):  # binds in one process, listens in another, begins anew in a third
    sock = socket.socket()
    sock.bind(("", port))
    if not (child := os.fork()):
        pause()
        sock.listen()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    sock.close()
    return listening(port)

def main(port, way):
    sys.stdin.readline()
    try:
        sock = way(port)
    except OSError as error:
        print(f"{way.__name__} {port}: {error}", flush=True)
        os._exit(0)
    print("ok", flush=True)
    time.sleep(100)

first, count = int(os.environ["PORT"]), int(sys.argv[1])
children = []
pipes = []
for number in range(count):
    read, write = os.pipe()
    if not (child := os.fork()):
        sys.stdin = open(read)
        main(first + number, [raw, restart, rebind][number % 3])
    os.close(read)
    children.append(child)
    pipes.append(write)
print(first, flush=True)
sys.stdin.readline()
for pipe in pipes:
    os.write(pipe, b"\\n")
sys.stdin.readline()
for child in children:
    os.kill(child, 9)
"""

PYTHON = [sys.executable, "-c", CROWDED, str(CROWD)]
# The same, one after the other; the interpreter of the tests may lie where an ordinary user can't read it.
PERL = ["perl", "-e", r"""
use Socket;
$| = 1;
print "$ENV{PORT}\n";
<STDIN>;
for my $port ($ENV{PORT} .. $ENV{PORT} + 9) {
    socket(my $sock, PF_INET, SOCK_STREAM, 0);
    select(undef, undef, undef, rand(0.1));
    my $ok = bind($sock, sockaddr_in($port, INADDR_ANY));
    select(undef, undef, undef, rand(0.1));
    $ok &&= listen($sock, 5);
    print $ok ? "ok\n" : "$port: $!\n";
    push @all, $sock;
}
<STDIN>;
"""]  # fmt: skip
TWO_SOCKETS = """
import os, socket, sys
socks = []
for _ in range(2):
    socks.append(socket.socket())
    socks[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    socks[-1].bind(("", int(os.environ["PORT"])))
    socks[-1].listen()
print(os.environ["PORT"], flush=True)
sys.stdin.readline()
for sock in socks:
    sock.close()
print("closed", flush=True)
sys.stdin.read()
"""


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


def test_two_hundred_programs_lose_no_port() -> None:
    """Raw sockets without options, restarts, sockets that change hands: nobody gets in, not for a moment."""
    with private_network(), ExitStack() as stack:
        outcomes, taken = attacked([crowd(stack, [COMMAND], "supervised", PYTHON) for _ in range(RUNS)])
    assert outcomes == ["ok"] * CROWD * RUNS
    assert taken == {}


def test_the_same_attack_wins_where_the_door_is_open() -> None:
    """The attackers who set SO_REUSEADDR come in, and programs fail."""
    with private_network(), ExitStack() as stack:
        outcomes, taken = attacked([crowd(stack, [COMMAND], "shared", PYTHON)])
    assert set(outcomes) != {"ok"}
    assert {REUSEADDR, BOTH} <= options_in(taken)
    assert PLAIN not in options_in(taken)


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
