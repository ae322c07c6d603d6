"""netcat: the old answer was a loop that tries `nc -l -p PORT` until one starts; what is wrong with it, and the new."""

import socket
from pathlib import Path

import pytest

from helpers.real_programs import AUTO, RELEASED, SHARED, V4
from helpers.real_runs import LIMIT, at_once, nothing_is_left
from helpers.real_sshd import running, wait_until_it_listens
from helpers.support import anyport, needs


@pytest.mark.parametrize("name", ["nc.openbsd", "nc.traditional"])
@pytest.mark.parametrize("how", [AUTO, SHARED, RELEASED])
def test_three_at_once(name: str, how: str, tmp_path: Path) -> None:
    """`nc -l -p {port}`: each gets what is sent to its port, and ends with its one connection."""
    with at_once(tmp_path, [[needs(name), "-l", "-p", "{port}"]] * 3, ["--hand-over", how]) as runs:
        for run in runs:
            with socket.create_connection((V4, run.port), timeout=LIMIT) as sock:
                sock.sendall(b"for port %d" % run.port)
        for run in runs:
            assert run.process.wait(LIMIT) == 0
            assert run.output() == f"for port {run.port}"
        nothing_is_left((), [run.port for run in runs])


def test_a_netcat_that_starts_is_no_proof() -> None:
    """netcat-openbsd sets SO_REUSEPORT: the loop gives one user the same port twice."""
    port = int(anyport().stdout)
    command = [needs("nc.openbsd"), "-l", "-p", str(port)]
    with running(command) as first:
        wait_until_it_listens(port, first)
        with running(command) as second:
            wait_until_it_listens(port, second)
