"""The main job under `anyport run`: tunnels of a real ssh, whose ports nobody takes on the way to it."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from anyport._clock import pauses
from anyport._linux import proc
from anyport._who import table
from helpers.real_programs import AUTO, RELEASED, SHARED, V4, V6
from helpers.real_runs import LIMIT, Run, ask, at_once, contained, nothing_is_left
from helpers.real_sshd import echo_server, reachable_sshd, through_socks
from helpers.support import COMMAND, listening, program

TEN = ["--in", "7002-7011"]
ENDED = 0  # what `ssh -N` ends with on SIGTERM
BOTH = {V4, V6}

# Binds each port again and again without any option and lets it go; at the end of its input it tells when it last had
# each, and how often it tried.
ATTACKER = program("attacks_forwardings.py")


@pytest.fixture
def bastion() -> Iterator[list[str]]:
    """The ssh command that reaches a real sshd."""
    with reachable_sshd() as command:
        yield command


@pytest.fixture
def target() -> Iterator[int]:
    """The port of a server behind the bastion, which answers in capitals."""
    with echo_server() as port:
        yield port


def forward(bastion: list[str], *words: str) -> list[str]:
    """The ssh command that only forwards."""
    return [*bastion[:-1], "-N", *words, bastion[-1]]


def wait_for_both(run: Run) -> None:
    """ssh makes its two sockets one after the other."""
    for _ in pauses(LIMIT):
        if run.addresses() == BOTH:
            return
    pytest.fail(f"ssh listens on {run.addresses()} only: {run.output()}")


def end_ssh(runs: Sequence[Run]) -> None:
    """SIGTERM to the runners, then connections: a signal between ssh's look at its flag and its poll wakes no poll."""
    pids = {pid for run in runs for pid in run.tree()}
    for run in runs:
        run.process.terminate()
    for run in runs:
        for _ in pauses(LIMIT):
            if run.process.poll() is not None:
                break
            with contextlib.suppress(OSError):
                socket.create_connection((V4, run.port), LIMIT).close()
        assert run.process.poll() == ENDED, run.output()
    nothing_is_left(pids, [run.port for run in runs])


@pytest.mark.parametrize("how", [AUTO, SHARED, RELEASED])
def test_three_proxies(bastion: list[str], target: int, how: str, tmp_path: Path) -> None:
    """`ssh -N -D {port}`: both loopbacks, and bytes pass."""
    with at_once(tmp_path, [forward(bastion, "-D", "{port}")] * 3, [*TEN, "--hand-over", how]) as runs:
        for run in runs:
            wait_for_both(run)
            for host in BOTH:
                assert through_socks(host, run.port, target) == b"OVER THE TUNNEL"
        end_ssh(runs)


@pytest.mark.parametrize("how", [AUTO, SHARED, RELEASED])
def test_three_forwards(bastion: list[str], target: int, how: str, tmp_path: Path) -> None:
    """`ssh -N -L {port}:host:port`: both loopbacks, and bytes pass."""
    command = forward(bastion, "-L", f"{{port}}:127.0.0.1:{target}")
    with at_once(tmp_path, [command] * 3, [*TEN, "--hand-over", how]) as runs:
        for run in runs:
            wait_for_both(run)
            for host in BOTH:
                ask(host, run.port, b"forward", b"FORWARD")
        end_ssh(runs)


@contextlib.contextmanager
def attackers(number: int) -> Iterator[list["subprocess.Popen[str]"]]:
    """Processes that attack the ten ports; close their input to have them tell."""
    command = [sys.executable, "-c", ATTACKER, "7002", "7011"]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(number)
    ]
    try:
        for process in processes:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_three_proxies_under_attack(bastion: list[str], target: int, tmp_path: Path) -> None:
    """While others bind the ten ports all the time, each ssh gets its own, on both addresses, and keeps it.

    Not one start is lost, for a port is held from the moment it is found.
    """
    with attackers(2) as processes, at_once(tmp_path, [forward(bastion, "-D", "{port}")] * 3, TEN) as runs:
        ready = time.monotonic()
        for run in runs:
            wait_for_both(run)
            assert "another port" not in run.output()
            assert through_socks(V4, run.port, target) == b"OVER THE TUNNEL"
        mine = {run.port for run in runs}
        told = [json.loads(process.communicate("")[0]) for process in processes]
        for had, tries in told:
            assert tries > 300
            after = {int(port) for port, when in had.items() if when > ready}
            assert after, "the attackers got nothing at all: they did not attack"
            assert not after & mine
        end_ssh(runs)


def test_a_port_that_ssh_would_get_only_half_is_not_given(bastion: list[str], target: int, tmp_path: Path) -> None:
    """With [::1]:7002 taken it gets 7003, and both loopbacks; on 7002 it would stay up with one (see test_ssh)."""
    command = forward(bastion, "-D", "{port}", "-o", "ExitOnForwardFailure=yes")
    with listening(V6, 7002), at_once(tmp_path, [command], ["--in", "7002-7003"]) as [run]:
        assert run.port == 7003
        wait_for_both(run)
        for host in BOTH:
            assert through_socks(host, run.port, target) == b"OVER THE TUNNEL"
        end_ssh([run])


TUNNEL = """
tunnel() {
    port=$("$ANYPORT" run --in 7002-7011 --detach -- "$@") || exit
    echo "localhost:$port"
}
"""


def in_shell(script: str, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["sh", "-c", TUNNEL + script, "sh", *words], env={**os.environ, "ANYPORT": COMMAND}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False, timeout=LIMIT,
    )  # fmt: skip


def test_the_shell_function(bastion: list[str], target: int) -> None:
    """`port=$(anyport run --detach -- ssh -N -L {port}:...) || exit`: when it returns, the tunnel is there."""
    command = forward(bastion, "-L", f"{{port}}:127.0.0.1:{target}")
    with contained():
        shell = in_shell('tunnel "$@"; tunnel "$@"; tunnel "$@"', *command)
        assert (shell.returncode, shell.stderr) == (0, "")
        ports = [int(line.removeprefix("localhost:")) for line in shell.stdout.splitlines()]
        assert len(set(ports)) == 3
        for port in ports:
            ask(V4, port, b"forward", b"FORWARD")
            os.kill(runner_of(port), signal.SIGTERM)
        nothing_is_left((), ports)


def runner_of(port: int) -> int:
    """The parent of ssh is the runner, in the background."""
    [pid] = {
        pid
        for each in proc.socket_owners({row.inode for row in table.servers("tcp", port)}).values()
        for pid, _ in each
    }
    ssh = proc.stat(pid)
    assert ssh
    assert proc.comm(pid) == "ssh"
    assert proc.comm(ssh.parent) == "anyport"
    return ssh.parent


def test_the_shell_function_fails_with_ssh(bastion: list[str]) -> None:
    """A tunnel that can't be had ends the script, with ssh's status and without a port."""
    command = forward(bastion, "-L", "{port}:127.0.0.1:9")
    command[command.index("-p") + 1] = "9"
    shell = in_shell('tunnel "$@"; echo "not reached"', *command)
    assert (shell.returncode, shell.stdout) == (255, "")
    assert "ended with status 255" in shell.stderr
