"""Whom `anyport serve` gives nothing, and what bad clients can't do to it."""

import fcntl
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from anyport._clock import pauses
from helpers.serving import another_process, ask, claims, connected, serving, until_claims
from helpers.support import COMMAND, NOBODY, anyport, command_as, needs, needs_root, program, python, python_as

ASK = """
import socket, sys
with socket.socket(socket.AF_UNIX) as sock:
    sock.connect(sys.argv[1].replace("@", chr(0), 1))
    sock.sendall(sys.argv[2].encode() + b"\\n")
    print(sock.recv(100))
"""
# In a namespace of its own, asks for the process whose number is computed there.
IN_NAMESPACE = [sys.executable, "-I", "-c", ASK.replace("sys.argv[2].encode()", "str(eval(sys.argv[2])).encode()")]


def test_another_user_is_refused(tmp_path: Path) -> None:
    """By an abstract name, which everybody can connect to, and whichever process is named."""
    with serving(tmp_path, address="@refuses-others") as server:
        for pid in "1", str(os.getpid()):
            done = python_as(NOBODY, ASK, server.address, pid)
            assert (done.stdout, done.stderr) == ("b'\\n'\n", "")
        assert f"is uid {NOBODY}'s, and this server is for uid 0" in server.said
        assert claims() == {}


def test_root_is_another_user_too(tmp_path: Path) -> None:
    """What he is given would be claimed in a ledger that he does not read."""
    needs_root()
    tmp_path.chmod(0o777)
    os.environ["ANYPORT_LEDGER"] = str(tmp_path / "nobodys")  # the fixture puts it back
    with serving(tmp_path, address="@nobodys", command=command_as(NOBODY)) as server:
        assert server.ask(os.getpid()) == b"\n"
        assert f"is uid 0's, and this server is for uid {NOBODY}" in server.said


def test_a_process_of_another_user_gets_none(tmp_path: Path) -> None:
    """Though the one who asks for it may have one."""
    needs_root()
    code = "import os; os.setgid(65534); os.setuid(65534); print(flush=True); input()"
    words = [sys.executable, "-I", "-S", "-c", code]
    with (
        serving(tmp_path) as server,
        subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other,
    ):
        assert other.stdout
        other.stdout.readline()
        assert server.ask(other.pid) == b"\n"
        assert f"process {other.pid} is uid {NOBODY}'s, and uid 0 asked for it" in server.said
        other.kill()


def test_the_socket_at_a_path_is_its_users_alone(tmp_path: Path) -> None:
    """By its mode."""
    with serving(tmp_path) as server:
        assert Path(server.address).stat().st_mode & 0o777 == 0o600


def test_processes_that_are_not_there_get_none(tmp_path: Path) -> None:
    """Never were, have ended, have not been waited for."""
    with serving(tmp_path) as server, subprocess.Popen(["true"]) as zombie:
        with another_process() as gone:
            pass
        os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
        answers = {pid: server.ask(pid) for pid in (0, 4194303, 99999999999, gone.pid, zombie.pid)}
        assert set(answers.values()) == {b"\n"}, answers
        assert claims() == {}
        assert server.port()


def test_a_thread_gets_none(tmp_path: Path) -> None:
    """Its number is no process's."""
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    try:
        with serving(tmp_path) as server:
            assert server.ask(str(thread.native_id)) == b"\n"
            assert f"there is no process {thread.native_id}" in server.said
    finally:
        end.set()
        thread.join()


def test_init_gets_none_from_another_session(tmp_path: Path) -> None:
    """It takes in orphans and never ends.  The session is our own: that of CI may be init's."""
    with serving(tmp_path) as server:
        done = python(ASK, server.address, "1", start_new_session=True)
        assert (done.stdout, done.stderr) == ("b'\\n'\n", "")
        assert "a port for process 1: most likely the parent that was meant has ended" in server.said


def test_a_process_of_another_network_namespace_gets_none(tmp_path: Path) -> None:
    """A number that is unused here means nothing there."""
    with serving(tmp_path) as server:
        words = [needs("unshare"), "--net", *IN_NAMESPACE, server.address, "__import__('os').getpid()"]
        assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == "b'\\n'\n"
        assert "is in another network namespace, where these ports mean nothing" in server.said


def test_in_another_pid_namespace_a_client_gets_a_port_for_itself_only(tmp_path: Path) -> None:
    """The kernel tells which process it is here; what else it may mean by a number can't be told."""
    with serving(tmp_path, "--verbose") as server:
        unshare = [needs("unshare"), "--pid", "--fork", "--mount-proc", *IN_NAMESPACE, server.address]
        for asked, answered in ("__import__('os').getpid()", True), ("__import__('os').getpid() + 1", False):
            done = subprocess.run([*unshare, asked], capture_output=True, text=True, check=True)
            assert (done.stdout != "b'\\n'\n") is answered
        assert "a client in another pid namespace asked for process 2 of that namespace" in server.said
        until_claims({})


# As nobody, and hidden from nobody's other processes: whoever changes his user without an exec is.
_AS_NOBODY = f"import encodings.idna, os, socket, sys; os.setgid({NOBODY}); os.setuid({NOBODY})"
_HIDDEN = _AS_NOBODY + ASK.replace("sys.argv[2]", "str(os.getpid())")


def test_a_client_in_another_pid_namespace_may_hide_itself(tmp_path: Path) -> None:
    """Its number is not taken for one of here, though its namespaces can't be seen."""
    needs_root()
    tmp_path.chmod(0o777)
    os.environ["ANYPORT_LEDGER"] = str(tmp_path / "nobodys")  # the fixture puts it back
    words = [needs("unshare"), "--pid", "--fork", "--mount-proc", sys.executable, "-I", "-c", _HIDDEN]
    with serving(tmp_path, address="@hidden", command=command_as(NOBODY), pool="20100") as server:
        done = subprocess.run([*words, server.address], capture_output=True, text=True, check=True)
        assert done.stdout == "b'20100\\n'\n", server.said


_AS_INIT = """
mkfifo ready
"$0" serve --socket @init --pool 20100 > ready &
read line < ready
PORTSERVER_ADDRESS=@init "$0"
kill $!
wait
"""


def test_the_shell_of_a_container_may_be_init(tmp_path: Path) -> None:
    """Then a command's caller is pid 1, and of the same session; orphans, whose parent it is, are not."""
    words = [needs("unshare"), "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", _AS_INIT, COMMAND]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
    assert (done.stdout, done.stderr) == ("20100\n", "")


GARBAGE = [
    b"\n", b"garbage\n", b"-1\n", b"+1\n", b"1 2\n", b"1.5\n", b"0x10\n", "١\n".encode(), b"\0\n", b"9" * 30 + b"\n",
    b"12", b"1" * 21, b"\xff" * 4096,
]  # fmt: skip


@pytest.mark.parametrize("words", GARBAGE)
def test_garbage_and_half_lines_get_no_port(tmp_path: Path, words: bytes) -> None:
    """An empty line, or nothing; and the next one is served."""
    with serving(tmp_path) as server:
        with connected(server.address) as client:
            client.sendall(words)
            client.shutdown(socket.SHUT_WR)
            assert client.recv(100) in (b"\n", b"")
        assert server.port()
        assert "refused: " in server.said


def test_a_client_that_only_looks_is_no_refusal(tmp_path: Path) -> None:
    """As `anyport doctor` does, or `nc -z`."""
    with serving(tmp_path) as server:
        connected(server.address).close()
        os.environ["PORTSERVER_ADDRESS"] = server.address  # the fixture puts it back
        assert "\n  portserver          yes\n" in anyport("doctor").stdout
        assert server.port()
        assert server.said == ""


def test_what_comes_before_and_behind_the_number_does_not_matter(tmp_path: Path) -> None:
    """Spaces, a carriage return, more lines: as portpicker's own server takes it."""
    with serving(tmp_path) as server:
        me = os.getpid()
        answers = {server.ask(words.encode()) for words in (f" {me}\n", f"{me}\r\n", f"{me} \n1\n2\n")}
        assert len(answers) == 3
        assert b"\n" not in answers


def test_a_line_of_a_mebibyte_is_refused_and_not_kept(tmp_path: Path) -> None:
    """The client is told so, or cut off."""
    with serving(tmp_path) as server:
        with connected(server.address) as client:
            try:
                client.sendall(b"1" * (1 << 20) + b"\n")
                assert client.recv(100) == b"\n"
            except (BrokenPipeError, ConnectionResetError):
                pass
        assert server.port()


def test_a_thousand_idle_connections_keep_nobody_waiting(tmp_path: Path) -> None:
    """More than a usual limit of descriptors; and when they are gone nothing is left of them."""
    with serving(tmp_path) as server:
        server.port()
        folder = f"/proc/{server.process.pid}/fd"
        before = len(os.listdir(folder))
        idle = [connected(server.address) for _ in range(1000)]
        ports = [server.port() for _ in range(20)]
        assert len(set(ports)) == 20
        for each in idle:
            each.close()
        assert any(len(os.listdir(folder)) <= before for _ in pauses(60))


def test_a_client_that_says_nothing_is_dropped(tmp_path: Path) -> None:
    """After its patience, here a tenth of a second: its descriptor is another's then."""
    code = "import sys\nfrom anyport._serve import server\nserver.PATIENCE = 0.1\nfrom anyport.__main__ import run\n"
    command = [sys.executable, "-c", f"{code}sys.exit(run(sys.argv[1:]))"]
    with serving(tmp_path, command=command) as server, connected(server.address) as client:
        assert client.recv(100) == b""
        assert "refused: no request within 0.1 s" in server.said


def test_when_descriptors_run_out_the_oldest_client_goes(tmp_path: Path) -> None:
    """The limit is 100 here, of which 64 are for other things: whoever is new is served."""
    limited = ["prlimit", "--nofile=100:100", COMMAND]
    with serving(tmp_path, command=limited) as server:
        idle = [connected(server.address) for _ in range(60)]
        assert server.port()
        server.until_said("refused: too many clients at once")
        assert idle[0].recv(1) == b""
        for each in idle:
            each.close()


THIRTY = program("thirty_clients.py")


def test_clients_of_another_user_are_in_nobodys_way(tmp_path: Path) -> None:
    """Of too many at once those go first, though an honest one has waited longest."""
    needs_root()
    limited = ["prlimit", "--nofile=100:100", COMMAND]
    with (
        serving(tmp_path, address="@crowded", command=limited) as server,
        connected(server.address) as honest,
        subprocess.Popen(
            [sys.executable, "-I", "-c", THIRTY, server.address, str(NOBODY)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        ) as crowd,
    ):  # fmt: skip
        assert crowd.stdout
        assert crowd.stdout.readline() == "ready\n"
        server.until_said("too many clients at once")
        honest.sendall(b"%d\n" % os.getpid())
        assert int(honest.recv(100))
        crowd.communicate("\n")


def test_a_restart_with_too_few_descriptors_serves_all_the_same(tmp_path: Path) -> None:
    """Those whose ends it can't watch keep their ports, and when they have ended the ports are free."""
    processes = [subprocess.Popen(["cat"], stdin=subprocess.PIPE) for _ in range(40)]
    with serving(tmp_path, pool="20100-20139") as server:
        ports = {server.port(each.pid) for each in processes}
        server.stop()
    limited = ["prlimit", "--nofile=100:100", COMMAND]
    with serving(tmp_path, command=limited, pool="20100-20139") as server:
        assert claims().keys() == ports
        assert server.ask(os.getpid()) == b"\n"
        for each in processes:
            each.communicate()
        given: set[int] = set()
        for _ in pauses(60):
            if (answer := server.ask(os.getpid())) != b"\n":
                given.add(int(answer))
            if given == ports:
                break
        assert given == ports


def test_when_descriptors_run_out_a_process_too_many_gets_no_port(tmp_path: Path) -> None:
    """Its end could not be seen, and nobody would ever have its port again."""
    limited = ["prlimit", "--nofile=100:100", COMMAND]
    with serving(tmp_path, command=limited) as server:
        processes = [subprocess.Popen(["cat"], stdin=subprocess.PIPE) for _ in range(40)]
        answers = [server.ask(each.pid) for each in processes]
        assert answers[0] != b"\n"
        assert answers[-1] == b"\n"
        assert "no descriptor is left to watch its end: the limit is RLIMIT_NOFILE" in server.said
        for each in processes:
            each.communicate()
        until_claims({})
        assert server.port()


def test_a_client_that_is_gone_before_its_answer_keeps_no_port(tmp_path: Path) -> None:
    """Though the process that it asked for lives on: nobody would know the number."""
    with serving(tmp_path, pool="20100") as server:
        for _ in range(20):
            with connected(server.address) as client:
                client.sendall(b"%d\n" % os.getpid())
        until_claims({})
        assert server.port() == 20100


def test_a_client_that_is_killed_between_request_and_answer_keeps_no_port(tmp_path: Path) -> None:
    """The server is stopped meanwhile, so that it finds the request of a dead process."""
    with serving(tmp_path, pool="20100") as server:
        os.kill(server.process.pid, 19)
        words = [sys.executable, "-c", ASK.replace("sys.argv[2]", "str(__import__('os').getpid())"), server.address]
        with subprocess.Popen(words, stdout=subprocess.DEVNULL) as client:
            assert any(Path(f"/proc/{client.pid}/wchan").read_text() == "unix_stream_read_generic" for _ in pauses(60))
            client.kill()
        os.kill(server.process.pid, 18)
        until_claims({})
        assert server.port() == 20100


def test_a_standard_error_that_nobody_reads_keeps_no_client_waiting(tmp_path: Path) -> None:
    """A pipe that is full: what there is to say is left out, until somebody reads again."""
    end, full = os.pipe()
    fcntl.fcntl(full, fcntl.F_SETPIPE_SZ, 4096)
    os.write(full, bytes(4096))
    script = f'exec "$0" "$@" 2>/proc/{os.getpid()}/fd/{full}'
    with serving(tmp_path, command=["sh", "-c", script, COMMAND]) as server:
        assert server.ask(b"garbage\n") == b"\n"
        assert server.port()
        assert os.read(end, 8192) == bytes(4096)
        assert server.ask(b"garbage\n") == b"\n"
        assert os.read(end, 8192).startswith(b"anyport: note: refused: no request of the protocol")
    os.close(end)
    os.close(full)


def test_refusals_are_no_flood(tmp_path: Path) -> None:
    """Ten a second, and then how many more there were."""
    with serving(tmp_path) as server:
        for _ in range(300):
            ask(server.address, b"garbage\n")
        assert 10 <= server.said.count("no request of the protocol") <= 100
