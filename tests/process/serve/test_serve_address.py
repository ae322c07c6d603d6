"""Where `anyport serve` listens: a name, a path, a socket that somebody else made."""

import fcntl
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from anyport._hold import activation
from helpers.serving import PORTS, ask, serving
from helpers.support import COMMAND, needs
from helpers.support import anyport as command


def refused(*words: str) -> tuple[str, str]:
    """Message and hint of a server that can't serve."""
    done = command("serve", *words)
    assert (done.returncode, done.stdout) == (1, "")
    message, hint = done.stderr.splitlines()
    return message, hint


@pytest.mark.parametrize("address", ["@taken", "path"])
def test_an_address_that_a_server_has_is_refused_to_another(tmp_path: Path, address: str) -> None:
    """And the first one goes on."""
    address = address if address.startswith("@") else str(tmp_path / address)
    with serving(tmp_path, address=address) as server:
        message, hint = refused("--socket", address)
        assert message == f"anyport: can't listen at {address}: Address already in use (errno 98)"
        assert hint == "hint: a server listens there already; name another address with --socket"
        assert server.port()


def test_what_a_killed_server_left_is_replaced(tmp_path: Path) -> None:
    """A path at which nobody listens."""
    with serving(tmp_path) as server:
        server.stop(signal.SIGKILL)
        assert Path(server.address).is_socket()
    with serving(tmp_path) as server:
        assert server.port()


def test_of_servers_that_start_at_once_over_such_a_leftover_one_serves(tmp_path: Path) -> None:
    """The others are told that it does."""
    path = tmp_path / "portserver"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
    words = [COMMAND, "serve", "--socket", str(path), "--pool", PORTS]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    servers = [subprocess.Popen(words, **streams) for _ in range(6)]  # type: ignore[call-overload]
    first = [each.stdout.readline() for each in servers]
    assert sorted(first) == [*[""] * 5, f"PORTSERVER_ADDRESS={path}\n"]
    assert int(ask(str(path), os.getpid()))
    for each in servers:
        each.terminate()
        each.communicate()
    assert sorted(each.returncode for each in servers) == [0, *[1] * 5]


def test_what_is_no_socket_is_not_replaced(tmp_path: Path) -> None:
    """It may be of value; and no server is said to be there.  Nor is a link followed."""
    path, link = tmp_path / "notes", tmp_path / "link"
    path.write_text("of value")
    link.symlink_to("nowhere")
    for each in (path, tmp_path, link):
        message, hint = refused("--socket", str(each))
        assert message == f"anyport: can't listen at {each}: Address already in use (errno 98)"
        assert hint == "hint: something else than a socket is there; name another address with --socket"
    assert path.read_text() == "of value"
    assert link.is_symlink()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    """With what to do."""
    message, hint = refused("--socket", str(tmp_path / "none" / "x"))
    assert message.endswith("none/x: No such file or directory (errno 2)")
    assert hint == "hint: the folder must be there, and yours to write to"


def test_a_folder_that_somebody_keeps_locked_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody who can read it could."""
    from anyport._serve import listener
    from anyport.errors import PortServerError

    monkeypatch.setattr(listener, "_PATIENCE", 0.05)
    folder = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    with pytest.raises(PortServerError, match=r"has been locked by another process for 0\.05 s"):
        listener.listen(str(tmp_path / "x"))
    os.close(folder)


def test_a_path_is_bound_and_removed_under_the_lock_of_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it is listened on: else of two servers that start or stop at once one could remove the other's."""
    from anyport._serve import listener

    was_locked: list[bool] = []
    remove = os.unlink

    def look() -> None:
        fd = os.open(tmp_path, os.O_RDONLY)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            was_locked.append(True)
        finally:
            os.close(fd)

    class Watched(socket.socket):
        def listen(self, backlog: int = 1) -> None:
            look()
            super().listen(backlog)

    def unlink(path: bytes) -> None:
        look()
        remove(path)

    monkeypatch.setattr(socket, "socket", Watched)
    monkeypatch.setattr(os, "unlink", unlink)
    listener.close(listener.listen(str(tmp_path / "x")), remove=True)
    assert was_locked == [True, True]
    assert not (tmp_path / "x").exists()


def test_a_path_that_cannot_be_removed_in_the_end_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its folder is locked, or gone: no error, for the next server removes it."""
    from anyport._serve import listener

    monkeypatch.setattr(listener, "_PATIENCE", 0.05)
    (tmp_path / "folder").mkdir()
    first, second = (listener.listen(str(tmp_path / "folder" / name)) for name in "ab")
    folder = os.open(tmp_path / "folder", os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    listener.close(first, remove=True)
    assert (tmp_path / "folder" / "a").is_socket()
    shutil.rmtree(tmp_path / "folder")
    listener.close(second, remove=True)
    os.close(folder)


def test_a_path_with_a_space_is_quoted_for_the_shell(tmp_path: Path) -> None:
    """So the line can be given to eval."""
    words = [COMMAND, "serve", "--socket", f"{tmp_path}/a b", "--pool", PORTS]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == f"PORTSERVER_ADDRESS='{tmp_path}/a b'\n"
        process.terminate()


def test_a_socket_that_another_server_has_made_meanwhile_is_not_removed(tmp_path: Path) -> None:
    """At the end only our own is."""
    with serving(tmp_path) as first:
        Path(first.address).unlink()
        with serving(tmp_path) as second:
            first.stop()
            assert second.port()


def is_listened_on(path: Path) -> bool:
    """Tell whether somebody listens at this path, without a connection, which would start the server.

    The path is there from bind on; a connection before listen is refused.
    """
    lines = [line.split() for line in Path("/proc/thread-self/net/unix").read_text().splitlines()]
    return any(line[3] == "00010000" and line[7:] == [str(path)] for line in lines)


def test_systemds_socket_activation(tmp_path: Path) -> None:
    """By systemd's own tool, which listens and starts the server on the first connection."""
    path = tmp_path / "activated"
    words = [
        needs("systemd-socket-activate"),
        "--listen",
        str(path),
        "-E",
        "ANYPORT_LEDGER",
        COMMAND,
        "serve",
        "--pool",
        PORTS,
    ]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(words, **quiet) as process:  # type: ignore[call-overload]
        from anyport._clock import pauses

        assert any(is_listened_on(path) for _ in pauses(60))
        assert len({int(ask(str(path), os.getpid())) for _ in range(3)}) == 3
        process.terminate()
        assert process.wait(60) == 0
    assert path.is_socket(), "it is systemd's, and stays"


def activated(sock: socket.socket, *words: str) -> subprocess.CompletedProcess[str]:
    """The server as somebody starts it who listens for it, but has the wrong kind of socket."""
    command = [*activation.launcher([sock.fileno()], ["x"]), COMMAND, "serve", *words]
    return subprocess.run(command, pass_fds=[sock.fileno()], capture_output=True, text=True, check=False, timeout=60)


def test_a_socket_of_another_kind_is_an_error(tmp_path: Path) -> None:
    """TCP, datagrams, one that does not listen, a file."""
    with socket.socket() as tcp, socket.socket(socket.AF_UNIX) as deaf:
        tcp.listen()
        deaf.bind(str(tmp_path / "deaf"))
        for each in tcp, deaf:
            done = activated(each)
            assert done.returncode == 1
            assert "descriptor 3 of LISTEN_FDS is no Unix stream socket that listens" in done.stderr


def test_an_address_and_a_socket_do_not_go_together(tmp_path: Path) -> None:
    """Which of them would be meant?"""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "x"))
        sock.listen()
        done = activated(sock, "--socket", "@other")
        assert done.returncode == 2
        assert "--socket @other does not go with sockets from systemd (LISTEN_FDS)" in done.stderr


def test_variables_that_are_another_processs_are_not_heeded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LISTEN_PID says whose they are."""
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_PID", "1")
    with serving(tmp_path) as server:
        assert server.port()


def test_the_unit_files_are_what_systemd_takes(tmp_path: Path) -> None:
    """Those in docs/, by systemd's own judgement."""
    docs = Path(__file__).parent.parent.parent.parent / "docs"
    for name in "anyport-serve.service", "anyport-serve.socket":
        text = (docs / name).read_text()
        (tmp_path / name).write_text(text.replace("%h/.local/bin/anyport", COMMAND))
    done = subprocess.run(
        [needs("systemd-analyze"), "--user", "--man=no", "verify", tmp_path / "anyport-serve.socket"],
        capture_output=True, text=True, check=False, env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
