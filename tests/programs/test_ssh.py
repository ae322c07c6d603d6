"""The main job on real programs: sshd on loopback, and `ssh -N -D` on a port that anyport found."""

import contextlib
import re
from collections.abc import Iterator

import pytest

from helpers.real_sshd import echo_server, listens, reachable_sshd, running, through_socks, wait_until_it_listens
from helpers.support import anyport, listening


@pytest.fixture
def bastion() -> Iterator[list[str]]:
    """The ssh command that reaches a real sshd."""
    with reachable_sshd() as command:
        yield command


@pytest.mark.parametrize("question", [[], ["--in", "7002-7011"], ["--from", "1080"]])
def test_a_socks_proxy_runs_on_a_found_port(bastion: list[str], question: list[str]) -> None:
    """`ssh -N -D $(anyport)`: ssh itself listens on both loopbacks, and bytes pass."""
    port = int(anyport(*question).stdout)
    command = [*bastion[:-1], "-N", "-D", str(port), "-o", "ExitOnForwardFailure=yes", bastion[-1]]
    with echo_server() as target, running(command) as ssh:
        wait_until_it_listens(port, ssh, addresses=2)
        assert listens(port, ssh.pid) == {"127.0.0.1", "::1"}
        for host in ("127.0.0.1", "::1"):
            assert through_socks(host, port, target) == b"OVER THE TUNNEL"


def test_three_tunnels_at_once_from_one_list(bastion: list[str]) -> None:
    """The old shell function's list of ten; each tunnel gets a port of its own."""
    with contextlib.ExitStack() as stack:
        target = stack.enter_context(echo_server())
        ports = [int(anyport("--in", "7002-7011").stdout) for _ in range(3)]
        assert len(set(ports)) == 3
        tunnels = [stack.enter_context(running([*bastion[:-1], "-N", "-D", str(port), bastion[-1]])) for port in ports]
        for port, ssh in zip(ports, tunnels, strict=True):
            wait_until_it_listens(port, ssh, addresses=2)
            assert through_socks("127.0.0.1", port, target) == b"OVER THE TUNNEL"
        refused = anyport("--only", str(ports[0]))
        assert f"ssh (pid {tunnels[0].pid}, " in refused.stderr


def test_a_port_that_ssh_would_get_only_half_is_not_called_unused(bastion: list[str]) -> None:
    """With ::1 taken ssh stays up on 127.0.0.1 and says nothing, even with ExitOnForwardFailure; anyport sees it."""
    with listening("::1", 7002):
        command = [*bastion[:-1], "-N", "-D", "7002", "-o", "ExitOnForwardFailure=yes", bastion[-1]]
        with running(command) as ssh:
            wait_until_it_listens(7002, ssh)
            assert listens(7002, ssh.pid) == {"127.0.0.1"}
        assert anyport("--in", "7002-7003").stdout == "7003\n"


def test_only_22_while_sshd_has_it_names_sshd(bastion: list[str]) -> None:
    """State and process, exit 1."""
    port = bastion[bastion.index("-p") + 1]
    refused = anyport("--only", port)
    assert refused.returncode == 1
    assert re.match(rf"anyport: {port}/tcp is in use: sshd \(pid \d+, root\) listens on 127.0.0.1\n", refused.stderr)
