"""What tests share: a private network namespace, the installed command, children that run a piece of Python."""

import contextlib
import ctypes
import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

COMMAND = str(Path(sys.executable).with_name("anyport"))
IS_ROOT = os.geteuid() == 0
NOBODY = 65534
_CLONE_NEWNET = 0x40000000
PROGRAMS = Path(__file__).with_name("programs")
_libc = ctypes.CDLL(None, use_errno=True)


def program(name: str) -> str:
    """The text of a program that tests run: each is a file, so that linters see it."""
    return (PROGRAMS / name).read_text()


def unavailable(reason: str) -> None:
    """Skip, but not in CI: there everything that can be tested is."""
    if os.environ.get("CI"):
        pytest.fail(f"may not be skipped in CI: {reason}")
    pytest.skip(reason)


def needs_root() -> None:
    if not IS_ROOT:
        unavailable("needs root")


def needs(program: str) -> str:
    """The path of a program that the test runs for real."""
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if not found:
        unavailable(f"needs the program {program}")
    return str(found)


def anyport(*args: str, timeout: float = 60, **options: object) -> subprocess.CompletedProcess[str]:
    """Run the installed command to its end."""
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        [COMMAND, *args],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        **options,
    )


def python(code: str, *args: str, timeout: float = 60, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a piece of Python in a process of its own."""
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        [sys.executable, "-W", "error", "-c", code, *args],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False, **options,
    )  # fmt: skip


def outputs_of(code: str, processes: int, *args: str, timeout: float = 100) -> list[str]:
    """Run the same code in several processes at once; what each printed, all of them ended well."""
    command = [sys.executable, "-W", "error", "-c", code, *args]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    outputs = [child.communicate(timeout=timeout)[0] for child in children]
    assert [child.returncode for child in children] == [0] * processes
    return outputs


def numbers(text: str) -> list[int]:
    return [int(word) for word in text.split()]


@contextlib.contextmanager
def private_network(
    ephemeral: tuple[int, int] | None = None, *, reserved: str = "", ipv6: bool = True
) -> Iterator[None]:
    """Move this thread (and the children it starts) into a new network namespace with lo up, and back."""
    needs_root()
    with open("/proc/thread-self/ns/net") as before:
        _unshare()
        try:
            _bring_up_lo()
            if ephemeral:
                sysctl("net/ipv4/ip_local_port_range", f"{ephemeral[0]} {ephemeral[1]}")
            if reserved:
                sysctl("net/ipv4/ip_local_reserved_ports", reserved)
            if not ipv6:
                sysctl("net/ipv6/conf/all/disable_ipv6", "1")
            yield
        finally:
            if _libc.setns(before.fileno(), _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")


def _unshare() -> None:
    if _libc.unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")


def sysctl(name: str, value: str) -> None:
    Path("/proc/sys", name).write_text(value)


def _bring_up_lo() -> None:
    siocgifflags, siocsifflags, iff_up = 0x8913, 0x8914, 0x1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = fcntl.ioctl(sock, siocgifflags, struct.pack("16sh14x", b"lo", 0))
        flags = struct.unpack("16sh14x", request)[1] | iff_up
        fcntl.ioctl(sock, siocsifflags, struct.pack("16sh14x", b"lo", flags))


def bound(
    host: str, port: int, kind: int = socket.SOCK_STREAM, *, v6only: bool = False, reuse: bool = False
) -> socket.socket:
    """A socket bound to this address; dual-stack for `::` unless told otherwise."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, kind)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(v6only))
        if reuse:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def listening(host: str, port: int, *, v6only: bool = False, reuse: bool = False) -> socket.socket:
    sock = bound(host, port, v6only=v6only, reuse=reuse)
    try:
        sock.listen(16)
    except OSError:
        sock.close()
        raise
    return sock


_CHURN = program("churn.py")


@contextlib.contextmanager
def churn(*ports: int) -> Iterator[None]:
    """Processes that bind port 0 and make outgoing connections without end."""
    children = [
        subprocess.Popen([sys.executable, "-c", _CHURN, str(port)], stdout=subprocess.PIPE, text=True) for port in ports
    ]
    try:
        for child in children:
            assert child.stdout
            assert child.stdout.readline() == "ready\n"
        yield
    finally:
        for child in children:
            child.kill()
            child.communicate()


# The interpreter may lie where only root can read: import all that can be needed first, become the user then.
_AS_USER = program("as_user.py")
_RUN_COMMAND = "from anyport.__main__ import run\nsys.exit(run(sys.argv[1:]))"


def python_as(uid: int, code: str, *args: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a piece of Python as another user."""
    needs_root()
    return python(_AS_USER + code, str(uid), *args, **options)  # type: ignore[arg-type]


def command_as(uid: int) -> list[str]:
    """What stands in the place of the command for another user."""
    return [sys.executable, "-W", "error", "-c", _AS_USER + _RUN_COMMAND, str(uid)]


def anyport_as(uid: int, *args: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Run the command as another user."""
    return python_as(uid, _RUN_COMMAND, *args, **options)


# For python_as: the ledger in its usual place, and warnings that do not end the process.
NO_VARIABLE = "del os.environ['ANYPORT_LEDGER']; warnings.simplefilter('default')\n"


def free_uid(name: str) -> int:
    """A uid that no other test uses, and no other run of the tests either."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    return 200_000 + zlib.crc32(f"{name} {run}".encode()) % 100_000


@contextlib.contextmanager
def no_folders(uid: int) -> Iterator[list[Path]]:
    """The two folders that a user's ledger may lie in are not there, before and after."""
    folders = [Path(f"/dev/shm/anyport-{uid}"), Path(f"/tmp/anyport-{uid}")]
    subprocess.run(["rm", "-rf", *folders], check=True)
    try:
        yield folders
    finally:
        subprocess.run(["rm", "-rf", *folders], check=True)
