"""`anyport run --map 8080`: programs with a number of their own written in, several of them at once."""

import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from anyport._clock import pauses
from anyport._who import table
from helpers.real_programs import FILES, HTTP, V4, V6
from helpers.real_runs import LIMIT, ask, at_once, end
from helpers.running import run, script
from helpers.support import COMMAND, needs, needs_root, program

MAP = ["--map", "8080"]

# Talks to itself from the addresses that are named; says, and then tells everybody, which ports it saw.
SERVER = program("server_of_8080.py")

ASYNC = program("asyncio_server.py")

# A server without room for the second of its clients, whose connect waits in a thread; later there is room.
FULL = """
import os, socket, threading, time
runner, program = os.getppid(), os.getpid()
server = socket.socket()
server.bind(("127.0.0.1", 8080))
server.listen(0)
first = socket.create_connection(("127.0.0.1", 8080))
"""
SECOND = """
second = socket.socket()
errors = []
thread = threading.Thread(target=lambda: errors.append(second.connect_ex(("127.0.0.1", 8080))))
thread.start()
"""
UNTIL_SYN_SENT = """
while " 02 " not in open("/proc/self/net/tcp").read():
    time.sleep(0.001)
"""
ROOM = """
assert thread.is_alive() and not errors
accepted = [server.accept()[0] for _ in range(2)]
thread.join()
accepted[1].sendall(b"second")
print(errors, second.recv(10).decode())
"""
# Meanwhile the program binds and listens elsewhere.
ELSEWHERE = """
other = socket.create_server(("127.0.0.1", 0))
assert other.getsockname()[1] not in (0, 8080)
"""
WAITS = FULL + SECOND + UNTIL_SYN_SENT + ELSEWHERE + ROOM
# The same in a child, which makes room when its parent and the runner have ended.
IN_A_CHILD = f"""
if os.fork():
{textwrap.indent(UNTIL_SYN_SENT, "    ")}
    os._exit(0)
"""
ALONE = """
while os.getppid() in (runner, program):
    time.sleep(0.001)
"""
WAITS_LONGER = FULL + IN_A_CHILD + SECOND + ALONE + ROOM

HTTP_AND_CLIENT = """
mkfifo pipe
python -u -m http.server 8080 --bind 127.0.0.1 >pipe &
read -r line <pipe
echo "$line"
curl -sS http://127.0.0.1:8080/name http://localhost:8080/name
kill $!
wait
"""


def folders(tmp_path: Path) -> list[Path]:
    """Three, each with a copy of the programs."""
    return [Path(shutil.copytree(FILES, tmp_path / name)) for name in "012"]


def test_three_that_talk_to_themselves(tmp_path: Path) -> None:
    """By each of this machine's names; for the others each is on its own port."""
    hosts = ["127.0.0.1", "::1", "localhost", "127.1.2.3", "0.0.0.0", "::", "::ffff:127.0.0.1"]
    with at_once(tmp_path, [[*script(tmp_path, SERVER), *hosts]] * 3, MAP) as runs:
        for each in runs:
            assert each.port != 8080
            assert any(each.output() == f"{[8080] * 8}\n" for _ in pauses(LIMIT)), each.output()
            for host in (V4, V6):
                ask(host, each.port, b"", repr([8080] * 8).encode())
            assert each.is_held()
        assert not table.servers("tcp", 8080)
        end(runs, -signal.SIGTERM)


def test_three_with_asyncio(tmp_path: Path) -> None:
    """Which connects without blocking."""
    with at_once(tmp_path, [script(tmp_path, ASYNC)] * 3, MAP) as runs:
        for each in runs:
            for host in (V4, V6):
                ask(host, each.port, b"others\n", b"hello others\n")
        end(runs, -signal.SIGTERM)


def test_three_node_clusters(tmp_path: Path) -> None:
    """Two workers each."""
    cwd = folders(tmp_path)
    for folder in cwd:
        text = (folder / "cluster.js").read_text()
        (folder / "cluster.js").write_text(text.replace("process.env.PORT", "8080"))
        assert "listen(8080)" in (folder / "cluster.js").read_text()
    with at_once(tmp_path, [[needs("node"), "cluster.js"]] * 3, MAP, cwd) as runs:
        for each in runs:
            for host in (V4, V6):
                ask(host, each.port, *HTTP)
        end(runs, -signal.SIGTERM)


def test_three_programs_with_their_clients_in_one_command(tmp_path: Path) -> None:
    """Each client finds the server beside it, which says that it is on 8080."""
    needs("curl")
    cwd = folders(tmp_path)
    for folder in cwd:
        (folder / "name").write_text(f"{folder.name}\n")
    code = HTTP_AND_CLIENT.replace("python", sys.executable)
    with at_once(tmp_path, [["sh", "-c", code]] * 3, MAP, cwd) as runs:
        for each in runs:
            assert each.process.wait(LIMIT) == 0, each.output()
            first, *names = [line for line in each.output().splitlines() if " - - [" not in line]
            assert first == "Serving HTTP on 127.0.0.1 port 8080 (http://127.0.0.1:8080/) ..."
            assert names == [each.folder.name] * 2


def test_a_connect_that_has_to_wait_is_in_nobodys_way(tmp_path: Path) -> None:
    """The program's other calls are answered meanwhile."""
    done = run(*MAP, "--", *script(tmp_path, WAITS), timeout=LIMIT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[0] second\n", "")


def test_clients_that_wait_take_no_descriptors_of_the_runner(tmp_path: Path) -> None:
    """It may have 40, and 100 of them wait; other calls of the program succeed."""
    with_many = """
    import resource
    resource.setrlimit(resource.RLIMIT_NOFILE, [resource.getrlimit(resource.RLIMIT_NOFILE)[1]] * 2)
    """
    clients = """
    clients = [socket.socket() for _ in range(100)]
    for client in clients:
        threading.Thread(target=client.connect, args=(("127.0.0.1", 8080),), daemon=True).start()
    while open("/proc/self/net/tcp").read().count(" 02 ") < 99:
        time.sleep(0.001)
    with socket.create_server(("127.0.0.2", 8080)) as another:
        print(another.getsockname(), len(os.listdir(f"/proc/{runner}/fd")) < 40, flush=True)
    os._exit(0)
    """
    code = textwrap.dedent(with_many) + FULL + textwrap.dedent(clients)
    words = [needs("prlimit"), "--nofile=40:4096", COMMAND, "run", *MAP, "--", *script(tmp_path, code)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=LIMIT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "('127.0.0.2', 8080) True\n", "")


def test_a_connect_that_waits_when_the_runner_ends(tmp_path: Path) -> None:
    """Another process answers it."""
    with at_once(tmp_path, [script(tmp_path, WAITS_LONGER)], MAP) as [each]:
        assert each.process.wait(LIMIT) == 0
        assert any(each.output() for _ in pauses(LIMIT))
        assert each.output() == "[0] second\n"


def ip(*words: str, inside: int = 0) -> None:
    where = [needs("nsenter"), "-t", str(inside), "-n"] if inside else []
    subprocess.run([*where, needs("ip"), *words], check=True)


# In another network namespace: says who it is to whoever connects.
REMOTE = """
import socket, sys
print("ready", flush=True)
sys.stdin.readline()
server = socket.create_server(("", 8080))
print("ready", flush=True)
while True:
    server.accept()[0].sendall(b"remote")
"""


@pytest.fixture
def remote() -> Iterator[str]:
    """The address of another machine with a server on 8080; ours is the one before."""
    needs_root()
    command = [needs("unshare"), "--net", sys.executable, "-c", REMOTE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as other:
        try:
            assert other.stdin
            assert other.stdout
            assert other.stdout.readline() == "ready\n"
            ip("link", "add", "here", "type", "veth", "peer", "name", "there", "netns", str(other.pid))
            for address, name, inside in (("10.9.0.1/24", "here", 0), ("10.9.0.2/24", "there", other.pid)):
                ip("address", "add", address, "dev", name, inside=inside)
                ip("link", "set", name, "up", inside=inside)
            other.stdin.write("go\n")
            assert other.stdout.readline() == "ready\n"
            yield "10.9.0.2"
        finally:
            other.kill()


def test_other_machines_have_their_own_8080(remote: str, tmp_path: Path) -> None:
    """A connect to one of them is left alone; one to an address of ours is not."""
    code = """
    import socket, sys
    server = socket.create_server(("", 8080))
    client = socket.create_connection((sys.argv[1], 8080), timeout=60)
    print(client.recv(10).decode(), client.getpeername())
    own = socket.create_connection((client.getsockname()[0], 8080), timeout=60)
    server.accept()[0].sendall(b"here")
    print(own.recv(10).decode())
    """
    done = run(*MAP, "--", *script(tmp_path, code), remote, timeout=LIMIT)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"remote ('{remote}', 8080)\nhere\n", "")
