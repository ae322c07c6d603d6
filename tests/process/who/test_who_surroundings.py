"""`anyport who` where something is missing: netlink, sockets, lo, a view of /proc, ports, rights, Linux itself."""

import json
import os
import re
import socket
import subprocess
import sys

from helpers.asking import LISTENS, USER, started_as, who_as, who_words
from helpers.sandboxes import within
from helpers.support import (
    COMMAND,
    NOBODY,
    bound,
    command_as,
    free_uid,
    listening,
    needs,
    needs_root,
    private_network,
    program,
    python,
)
from helpers.support import anyport as command


def test_without_netlink() -> None:
    """A sandbox refuses it: /proc/net tells, and what that does not show a bind does; it is never called unused."""

    def in_sandbox(*words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            within("no-netlink", COMMAND, "who", *words), capture_output=True, text=True, check=False
        )  # fmt: skip

    with listening("127.0.0.1", 20123), bound("127.0.0.1", 20124), bound("::1", 20125, socket.SOCK_DGRAM):
        done = in_sandbox("20123", "20124", "20125", "20126", "--json")
        assert [(each["protocol"], each["port"], each["state"]) for each in json.loads(done.stdout)] == [
            ("tcp", 20123, "LISTEN"), ("tcp", 20124, "UNSEEN"), ("udp", 20125, "BOUND"),
        ]  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        hidden = in_sandbox("20124", "--tcp")
        assert (hidden.returncode, hidden.stderr) == (0, "")
        assert hidden.stdout.splitlines()[:2] == [
            "20124/tcp is in use: a socket that can't be seen",
            "  a bind of it is refused (EADDRINUSE); sockets that are bound and do not listen are not shown here",
        ]
        ranged = in_sandbox("20124-20125", "--tcp")
        assert (ranged.returncode, ranged.stdout) == (1, "20124-20125/tcp: none of 2 in use\n")
        assert "TCP sockets that are bound and do not listen are not shown here\nhint: " in ranged.stderr
    assert in_sandbox("20124").stdout == "20124/tcp is unused\n20124/udp is unused\n"


def test_where_no_socket_is_to_be_had() -> None:
    """A sandbox that refuses sockets of IP, but not netlink: the table is told, and that nothing can be bound."""

    def in_sandbox(*words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(within("no-inet", COMMAND, *words), capture_output=True, text=True, check=False)

    with listening("127.0.0.1", 20123):
        done = in_sandbox("who", "20123", "20124", "--tcp")
        assert (done.returncode, done.stderr) == (0, "")
        lines = done.stdout.splitlines()
        assert lines[0].startswith("20123/tcp is in use: ")
        assert lines[1] == ("20124/tcp is unused, but can't be bound by you: Operation not permitted (errno 1)")
        assert in_sandbox("who").returncode == 0
        assert in_sandbox("wait", "20123").returncode == 0
        late = in_sandbox("wait", "20124", "--timeout", "0")
        assert late.stderr.startswith("anyport: timed out after 0 s, and no socket listens: 20124/tcp is unused")


def test_a_new_network_namespace() -> None:
    """`unshare -n`: lo is down, and nothing of the other one is seen."""
    needs_root()
    with listening("127.0.0.1", 20123):
        done = subprocess.run(
            [needs("unshare"), "-n", COMMAND, "who", "20123", "80"], capture_output=True, text=True, check=False
        )
    lines = [f"{port}/{protocol} is unused" for port in (80, 20123) for protocol in ("tcp", "udp")]
    assert (done.returncode, done.stdout.splitlines(), done.stderr) == (1, lines, "")


def test_proc_mounted_with_hidepid() -> None:
    """An ordinary user's own server has its process; another one's socket is seen all the same."""
    needs_root()
    uid = free_uid("who")
    mount = f'{needs("mount")} -t proc -o hidepid=2 proc /proc && exec "$@"'
    inside = [needs("unshare"), "-m", "sh", "-c", mount, "sh"]
    with listening("127.0.0.1", 20123):
        done = subprocess.run([*inside, *who_words(uid, "20123", "--tcp")], capture_output=True, text=True, check=False)
        tree = ["wait", "20123", "--until", "unused", "--tree", str(os.getpid())]
        waited = subprocess.run([*inside, *command_as(uid), *tree], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("20123/tcp is in use: a socket of root, whose process can't be seen, listens on")
    assert "`sudo anyport who 20123`" in done.stdout
    assert waited.returncode == 125
    assert waited.stderr.startswith(f"anyport: the sockets of process {os.getpid()} can't be seen\nhint: ")
    code = """
import socket, subprocess, anyport
with socket.create_server(("127.0.0.1", 20124)):
    (own,) = anyport.who(20124)
assert [each.pid for each in own.processes] == [os.getpid()], own
assert (own.uid, own.user) == (os.getuid(), None)
"""
    user = [sys.executable, "-c", f"{prelude(uid)}\n{code}"]
    own = subprocess.run([*inside, *user], capture_output=True, text=True, check=False)
    assert (own.returncode, own.stderr) == (0, "")


def prelude(uid: int) -> str:
    """What makes a process another user's, with all imported that may be needed."""
    return f"import sys\nsys.argv = ['', '{uid}']\n" + command_as(uid)[4].rsplit("from anyport.__main__", 1)[0]


def test_root_without_cap_sys_ptrace() -> None:
    """As in a container: the socket is seen, its process is not, and `sudo` would not help."""
    with started_as(NOBODY, LISTENS, "20123"):
        line = within("docker", COMMAND, "who", "20123", "--tcp")
        done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[:2] == [
        "20123/tcp is in use: a socket of nobody, whose process can't be seen, listens on 127.0.0.1",
        "  it takes CAP_SYS_PTRACE, and no policy against it, to see the process: ask outside of the container",
    ]


def test_every_ephemeral_port_is_taken() -> None:
    """When people ask: the answer is there all the same."""
    needs_root()
    with private_network((40000, 40001)), bound("0.0.0.0", 40000), bound("0.0.0.0", 40001):
        done = command("who", "40000", "--tcp")
    assert (done.returncode, done.stderr) == (0, "")
    assert "is bound to 0.0.0.0" in done.stdout


def test_an_ordinary_user_gets_the_same_answers() -> None:
    """Of his own sockets, and of what nobody has."""
    done = who_as(NOBODY, "20123", "--udp")
    assert (done.returncode, done.stdout, done.stderr) == (1, "20123/udp is unused\n", "")


ELSEWHERE = """
import socket, sys
import psutil, anyport  # while it is still Linux
from anyport.__main__ import run
sys.platform = "darwin"
"""


def test_elsewhere_psutil_tells() -> None:
    """The sockets that are there, with their processes; the command too, and nothing is bound."""
    code = ELSEWHERE + program("psutil_tells.py")
    done = python(code)
    assert (done.returncode, done.stderr) == (1, "")
    lines = done.stdout.splitlines()
    assert re.fullmatch(rf"20123/tcp is in use: python\S* \(pid \d+, {USER}\) listens on 127\.0\.0\.1", lines[0])
    assert lines[-1] == "20125/udp has no socket that can be seen"


def test_elsewhere_without_psutil() -> None:
    """The error says what to install."""
    code = ELSEWHERE + "sys.modules['psutil'] = None\nsys.exit(run(['who', '8080']))"
    done = python(code)
    assert done.stdout == ""
    assert done.stderr.endswith("which is not installed\nhint: pip install 'anyport[psutil]'\n")
    raised = python(ELSEWHERE + "sys.modules['psutil'] = None\nanyport.who(8080)")
    assert "anyport.errors.Unsupported: " in raised.stderr
