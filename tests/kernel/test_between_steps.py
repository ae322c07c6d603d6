"""What may happen between two steps of the supervisor: each time it does happen, and nothing comes of it."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from errno import EADDRINUSE, EINVAL, EMFILE, EPERM, EROFS
from pathlib import Path
from typing import Any

import pytest

from anyport._hold import holder
from anyport._linux import libc, pidfd, pidfd_getfd, process_vm, rtnetlink
from anyport._linux import proc as linux_proc
from anyport._linux.socket import LOOPBACK, SO_BINDTOIFINDEX
from anyport._run import signals
from anyport._run.run import _kill
from anyport._supervise import mapping, supervisor
from anyport._supervise.supervisor import Supervisor
from helpers.support import bound, needs, needs_root
from helpers.trapped import Caller, calling, fork_as

OWN = 8080
CLONE_NEWNET = 0x40000000  # linux/sched.h


@pytest.fixture
def hold() -> Iterator[socket.socket]:
    with bound("::", 0) as sock:
        yield sock


@pytest.fixture
def program() -> Iterator[socket.socket]:
    """The program's socket, which the test can look at as well."""
    with socket.socket() as sock:
        yield sock


def port_of(sock: socket.socket) -> int:
    number: int = sock.getsockname()[1]
    return number


def supervising(caller: Caller, hold: socket.socket, said: "list[str] | None" = None) -> Supervisor:
    """With a number of its own; what is said is kept, and nothing may be said where nobody asks for it."""

    def tell(kind: str, text: str, _: str) -> None:
        assert said is not None, text
        said.append(f"{kind}: {text}")

    number = port_of(hold)
    return Supervisor(caller.listener, {("tcp", number): [hold]}, {OWN: number}, tell)


def after(monkeypatch: pytest.MonkeyPatch, where: Any, name: str, event: Callable[[], object]) -> list[None]:
    """When this function has done its work, that happens, once; as many entries as it was called."""
    function, calls = getattr(where, name), list[None]()

    def instead(*args: Any) -> Any:
        result = function(*args)
        calls.append(None)
        if len(calls) == 1:
            event()
        return result

    monkeypatch.setattr(where, name, instead)
    return calls


def answered(sup: Supervisor) -> None:
    """One call is; also if the caller is gone by then."""
    assert sup.wait(20)
    sup.serve()


MOMENTS: dict[str, tuple[Any, str]] = {
    "its socket was copied": (supervisor, "_copy_of"),
    "its memory was read": (process_vm, "read"),
    "its capabilities were looked at": (supervisor, "_may_bind_low_ports"),
}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("which", ["held", "low"])
def test_no_bind_for_a_caller_that_was_killed(
    moment: str, which: str, hold: socket.socket, program: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its number may be another one's by then, whose socket, memory and capabilities were looked at."""
    needs_root()
    number = port_of(hold) if which == "held" else 80
    with calling(lambda: program.bind(("127.0.0.1", number))) as caller:
        calls = after(monkeypatch, *MOMENTS[moment], caller.kill)
        answered(supervising(caller, hold))
        assert len(calls) == (which == "low" or "capabilities" not in moment)
        assert port_of(program) == 0 or not calls
    with socket.socket() as other:
        other.bind(("127.0.0.1", 80))  # nobody has it


def test_no_listen_for_a_caller_that_was_killed(
    hold: socket.socket, program: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy may be another one's socket."""
    number = port_of(hold)

    def serve() -> None:
        program.bind(("127.0.0.1", number))
        program.listen()

    with calling(serve) as caller:
        sup = supervising(caller, hold)
        answered(sup)
        after(monkeypatch, supervisor, "_copy_of", caller.kill)
        answered(sup)
        assert port_of(program) == number
        assert not program.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)


@pytest.mark.parametrize("moment", [(supervisor, "_copy_of"), (process_vm, "read"), (mapping, "is_here")])
def test_no_connect_for_a_caller_that_was_killed(
    moment: tuple[Any, str], program: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is connected to the port."""
    program.setblocking(False)
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        calling(lambda: program.connect(("127.0.0.1", OWN))) as caller,
    ):
        after(monkeypatch, *moment, caller.kill)
        answered(supervising(caller, server))
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()
        with pytest.raises(OSError, match="not connected"):
            program.getpeername()


@pytest.mark.parametrize("moment", [(process_vm, "open_to_write"), (process_vm, "read"), (Supervisor, "_is_waiting")])
def test_a_name_is_written_to_nobody_who_has_the_callers_number_now(
    moment: tuple[Any, str], hold: socket.socket, program: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever that happens: before the last question whether the call waits, or right after it."""
    needs_root()
    name, length = ctypes.create_string_buffer(b"#" * 15), ctypes.c_int(16)
    where, number = (ctypes.addressof(name), ctypes.addressof(length)), port_of(hold)

    def serve() -> None:
        program.bind(("127.0.0.1", number))
        libc.call("getsockname", program.fileno(), *where)

    mine, theirs = socket.socketpair()
    with mine, theirs, calling(serve) as caller:

        def be_innocent() -> None:
            theirs.recv(1)
            theirs.send(name.raw)

        def use_again() -> None:
            caller.kill()
            fork_as(caller.pid, be_innocent)

        sup = supervising(caller, hold)
        answered(sup)
        after(monkeypatch, *moment, use_again)
        answered(sup)
        mine.send(b"?")
        assert mine.recv(32) == b"#" * 15 + b"\0"
        assert caller.status() == 0


@pytest.mark.parametrize("reason", ["read-only", "another namespace's"])
def test_where_memory_cannot_be_written_the_kernel_answers(
    reason: str, hold: socket.socket, program: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the held port; that is said once, and the door stays shut."""

    def refuse(_: int) -> int:
        raise OSError(EROFS, "Read-only file system")

    number = port_of(hold)

    def serve() -> None:
        program.bind(("127.0.0.1", OWN))
        os._exit(0 if [port_of(program), port_of(program)] == [number] * 2 else 1)

    with calling(serve) as caller:
        said: list[str] = []
        sup = supervising(caller, hold, said)
        if reason == "read-only":
            monkeypatch.setattr(process_vm, "open_to_write", refuse)
        else:
            monkeypatch.setattr(linux_proc, "is_ours", lambda: False)
        sup.serve_all()
        assert caller.status() == 0
        assert not sup.is_lost
        (text,) = said
        assert text.startswith(f"warning: the memory of process {caller.pid} can't be written")
    assert not hold.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)


def test_the_calls_of_another_network_namespace_are_the_kernels(hold: socket.socket) -> None:
    """There the program's own number is its own, and nobody can be reached on the port."""
    needs_root()

    def serve() -> None:
        libc.call("unshare", CLONE_NEWNET)
        with socket.socket() as server:
            server.bind(("0.0.0.0", OWN))
            server.listen()
            listens = f":{OWN:04X} " in Path("/proc/self/net/tcp").read_text()
        os._exit(0 if listens else 1)

    with calling(serve) as caller:
        assert served(supervising(caller, hold)) == [None, None]
        assert caller.status() == 0


def test_capabilities_in_another_proc_are_nobodys(monkeypatch: pytest.MonkeyPatch) -> None:
    """There the number is another process's."""
    needs_root()
    assert supervisor._may_bind_low_ports(os.getpid())
    monkeypatch.setattr(linux_proc, "is_ours", lambda: False)
    assert not supervisor._may_bind_low_ports(os.getpid())


@pytest.fixture
def innocent() -> Iterator["subprocess.Popen[str]"]:
    """A process that waits; `spared` ends it."""
    code = "import sys; sys.stdin.read(); sys.exit(3)"
    with subprocess.Popen([sys.executable, "-S", "-c", code], stdin=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def spared(process: "subprocess.Popen[str]") -> bool:
    """Whether it ends as it would by itself."""
    process.communicate()
    return process.returncode == 3


def test_a_number_that_is_no_descendants_any_more_gets_no_signal(
    innocent: "subprocess.Popen[str]", monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was one's when they were listed, and another process's when it was opened."""
    listed = iter([[innocent.pid], []])
    monkeypatch.setattr(linux_proc, "descendants", lambda _: next(listed))
    before = os.listdir("/proc/self/fd")
    signals.send_to_descendants(signal.SIGKILL)
    assert os.listdir("/proc/self/fd") == before
    assert spared(innocent)


def test_descendants_get_the_signal_also_without_pidfds(monkeypatch: pytest.MonkeyPatch) -> None:
    """By number where there are none."""

    def refuse(_: int) -> "list[int]":
        raise PermissionError

    for function in (pidfd.descendants, refuse):
        monkeypatch.setattr(pidfd, "descendants", function)
        child = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
        signals.send_to_descendants(signal.SIGKILL)
        child.communicate()
        assert child.returncode == -signal.SIGKILL


def test_a_number_that_is_no_programs_any_more_is_not_killed(innocent: "subprocess.Popen[str]") -> None:
    """It is not the runner's child."""
    _kill(innocent.pid, 1)
    assert spared(innocent)


def test_a_number_that_is_no_holders_any_more_is_not_ended(
    innocent: "subprocess.Popen[str]", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if it is that of another holder now, which holds another port."""
    monkeypatch.setattr(holder, "comm", lambda _: holder.COMM)
    holder._end(innocent.pid, 9)
    assert spared(innocent)


def test_where_a_connect_goes_is_not_guessed_without_a_descriptor_to_ask_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the answer no, it would go to whoever has that number really."""
    full = OSError(EMFILE, "Too many open files")

    def refuse(_: bytes) -> bool:
        raise full

    monkeypatch.setattr(rtnetlink, "is_local", refuse)
    address = b"\2\0" + bytes(2) + socket.inet_aton("192.0.2.1") + bytes(8)
    with pytest.raises(OSError, match="Too many"):
        mapping.is_here(address)
    full = OSError(EPERM, "netlink is refused")
    assert not mapping.is_here(address)


def test_the_name_of_a_process_is_escaped() -> None:
    """What a terminal would act on."""
    comm = Path("/proc/self/comm")
    before = comm.read_bytes().removesuffix(b"\n")  # with it the name would have one, and ss two lines for us
    comm.write_bytes(b"x\x1b[2J")
    try:
        name = supervisor._name_of(os.getpid())
    finally:
        comm.write_bytes(before)
    assert name == r"x\x1b[2J"


def served(sup: Supervisor) -> list[object]:
    """What each call came to, until no process is left that makes one."""
    results: list[object] = []
    while not sup.is_over:
        if sup.wait(1):
            results.append(sup.serve())
    return results


def test_a_program_can_be_reached_only_where_its_call_succeeded(hold: socket.socket, program: socket.socket) -> None:
    """TCP by a listen, UDP by a bind."""
    number = port_of(hold)

    def serve() -> None:
        with socket.socket() as server, socket.socket() as second:
            server.bind(("127.0.0.1", number))
            second.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            second.bind(("127.0.0.1", number))
            server.listen()
            with pytest.raises(OSError, match="in use"):
                second.listen()
            program.bind(("127.0.0.1", number))

    with calling(serve) as caller:
        sup = supervising(caller, hold)
        assert served(sup) == [None, None, ("tcp", number), None, None]
        assert caller.status() == EADDRINUSE


def test_a_udp_program_can_be_reached_where_its_bind_succeeded() -> None:
    """And not where it was refused."""
    with bound("::", 0, socket.SOCK_DGRAM) as hold, bound("127.0.0.1", 0, socket.SOCK_DGRAM) as program:
        number = port_of(hold)

        def serve() -> None:
            with socket.socket(type=socket.SOCK_DGRAM) as sock:
                sock.bind(("127.0.0.1", number))
                program.bind(("127.0.0.1", number))

        with calling(serve) as caller:
            assert served(Supervisor(caller.listener, {("udp", number): [hold]}, {}, print)) == [("udp", number), None]
            assert caller.status() == EINVAL


def test_a_supervisor_without_descriptors_says_so_to_the_caller(
    hold: socket.socket, program: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is soon over: the door stays shut, and nothing is said."""

    def refuse(*_: int) -> socket.socket:
        raise OSError(EMFILE, "Too many open files")

    monkeypatch.setattr(supervisor, "_copy_of", refuse)
    number = port_of(hold)
    with calling(lambda: program.bind(("127.0.0.1", number))) as caller:
        sup = supervising(caller, hold)
        assert served(sup) == [None]
        assert caller.status() == EMFILE
        assert not sup.is_lost


def test_a_call_that_cannot_be_made_goes_by_the_door_and_is_told_once(
    hold: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stays open from then on."""

    def refuse(*_: int) -> socket.socket:
        raise OSError(EPERM, "Operation not permitted")

    monkeypatch.setattr(supervisor, "_copy_of", refuse)
    number = port_of(hold)

    def serve() -> None:
        with socket.create_server(("127.0.0.1", number)):
            pass

    said: list[str] = []
    with calling(serve) as caller:
        sup = supervising(caller, hold, said)
        assert set(served(sup)) == {None}
        assert caller.status() == 0
        assert sup.is_lost
        assert len(said) == 1
    assert hold.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)


def test_a_bind_to_a_link_local_address_keeps_its_interface(hold: socket.socket) -> None:
    """Which the call itself binds the socket to (ipv6(7))."""
    needs_root()
    subprocess.run([needs("ip"), "address", "add", "fe80::1/64", "dev", "lo", "nodad"], check=True)
    number = port_of(hold)
    with socket.socket(socket.AF_INET6) as program:
        with calling(lambda: program.bind(("fe80::1", number, 0, LOOPBACK))) as caller:
            assert served(supervising(caller, hold)) == [None]
            assert caller.status() == 0
        assert program.getsockopt(socket.SOL_SOCKET, SO_BINDTOIFINDEX) == LOOPBACK


def test_the_process_of_a_thread_is_not_looked_up_in_another_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before Linux 6.9, which has no descriptor of a thread: there the number is another process's."""
    opened = os.pidfd_open

    def older(number: int, flags: int = 0) -> int:
        if flags:
            raise OSError(EINVAL, "Invalid argument")
        return opened(number)

    monkeypatch.setattr(os, "pidfd_open", older)
    with open(os.devnull, "rb") as file:
        os.close(pidfd_getfd.copy(os.getpid(), file.fileno()))
        monkeypatch.setattr(linux_proc, "is_ours", lambda: False)
        with pytest.raises(OSError, match="Invalid argument"):
            pidfd_getfd.copy(os.getpid(), file.fileno())
