"""The calls of a supervised program: each returns what it returns without us, and each failure is the same one."""

import subprocess
from pathlib import Path

import pytest

from helpers.real_programs import SUPERVISED
from helpers.running import script
from helpers.support import COMMAND, NOBODY, needs_root, program

PORT = "20123"

# The calls as they are, by number: ctypes checks nothing.  `port` is the held one.
RAW = program("raw_calls.py")

# By what is tried: the code, which prints, and what it prints.
BINDS = {
    "a second one where we listen": ("print(server()[1:], bind(new(), tcp()))", "('ok', 'ok') EADDRINUSE"),
    "a second one, both with SO_REUSEADDR": (
        "print(server(reuse=1)[1:], bind(new(reuse=1), tcp()))", "('ok', 'ok') EADDRINUSE"
    ),
    "before the listen, both with SO_REUSEADDR": (
        "a, b = new(reuse=1), new(reuse=1); print(bind(a, tcp()), bind(b, tcp()), listen(a), listen(b))",
        "ok ok ok EADDRINUSE",
    ),
    "before the listen, the second with SO_REUSEADDR": (
        "a, b = new(), new(reuse=1); print(bind(a, tcp()), bind(b, tcp()))", "ok EADDRINUSE"
    ),
    "several with SO_REUSEPORT": (
        "print(server(share=1)[1:], server(share=1)[1:], server(share=1, reuse=1)[1:], server()[1:])",
        "('ok', 'ok') ('ok', 'ok') ('ok', 'ok') ('EADDRINUSE', 'ok')",  # which listens on another port
    ),
    "another address": ("print(server()[1:], bind(new(), tcp('127.0.0.2')))", "('ok', 'ok') ok"),
    "every address, one is taken": (
        "print(server()[1:], bind(new(), tcp('0.0.0.0')), bind(new(AF_INET6), tcp6('::')))",
        "('ok', 'ok') EADDRINUSE EADDRINUSE",
    ),
    "twice": ("fd = new(); print(bind(fd, tcp()), bind(fd, tcp()), bind(fd, tcp(port=0)))", "ok EINVAL EINVAL"),
    "an address of others": ("print(bind(new(), tcp('203.0.113.1')))", "EADDRNOTAVAIL"),
    "an IPv6 address of others": ("print(bind(new(AF_INET6), tcp6('2001:db8::1')))", "EADDRNOTAVAIL"),
    "a link-local address without a scope": (
        "print(bind(new(AF_INET6), tcp6('fe80::1')), bind(new(AF_INET6), tcp6('ff02::fb')))", "EINVAL EINVAL"
    ),
    "no descriptor": ("print(bind(999, tcp()), bind(-1, tcp()), listen(999))", "EBADF EBADF EBADF"),
    "no socket": (
        "fd = os.open('/dev/null', os.O_RDWR); print(bind(fd, tcp()), listen(fd))", "ENOTSOCK ENOTSOCK"
    ),
    "a path": ("fd = os.open('/', os.O_PATH); print(bind(fd, tcp()), listen(fd))", "EBADF EBADF"),
    "no memory": (
        "print(bind(new(), None, 16), bind(new(), ctypes.c_void_p(1), 16), bind(new(), edge(), 16))",
        "EFAULT EFAULT EFAULT",
    ),
    "no memory and no length": ("print(bind(new(), None, 0), bind(new(), None, 129))", "EINVAL EINVAL"),
    "lengths": (
        "for n in (-1, -2**31, 0, 1, 2, 3, 4, 15, 129, 16, 128): print(on_new(bind, tcp() + bytes(113), n))",
        "EINVAL\n" * 9 + "ok\nok",
    ),
    "lengths of IPv6": (
        "print(*(bind(new(AF_INET6), tcp6(), n) for n in (16, 23, 24)), bind(new(AF_INET6), tcp6(), 28))",
        "EINVAL EINVAL ok EADDRINUSE",
    ),
    "families": (
        (
            "for a in tcp(family=77), tcp6(), tcp(family=0), tcp('0.0.0.0', family=0): print(bind(new(), a))\n"
            "print(bind(new(AF_INET6), tcp() + bytes(12)))"
        ),
        "EAFNOSUPPORT\n" * 3 + "ok\nEAFNOSUPPORT",
    ),
    "after a connect": (
        "server(); fd = new(); print(said(libc.connect(fd, tcp(), 16)), bind(fd, tcp()), listen(fd))",
        "ok EINVAL EINVAL",
    ),
    "UDP": (
        "fd = new(kind=SOCK_DGRAM); print(bind(fd, tcp()), bind(fd, tcp()), bind(new(kind=SOCK_DGRAM), tcp()))",
        "ok EINVAL EADDRINUSE",
    ),
    "what is none of our business": (
        (
            "print(bind(socket(AF_UNIX).detach(), struct.pack('=H8s', AF_UNIX, b'\\0%d' % os.getpid())))\n"
            "print(bind(socket(AF_NETLINK, SOCK_RAW).detach(), struct.pack('=HHII', AF_NETLINK, 0, 0, 0)))\n"
            "print(bind(new(), tcp(port=0)), bind(new(AF_INET6, SOCK_DGRAM), tcp6('::', 0)), listen(new()))"
        ),
        "ok\nok\nok ok ok",
    ),
}  # fmt: skip

LISTENS = {
    "every backlog": (
        "for n in (-1, 0, 1, 2**31 - 1, -2**31, 5): fd = new(); print(bind(fd, tcp()), listen(fd, n)); os.close(fd)",
        "ok ok\n" * 5 + "ok ok",
    ),
    "the same backlog": (
        (
            "fd = socket(fileno=new()); print(bind(fd.fileno(), tcp()), end=' ')\n"
            "for n in (7, 3, 0): listen(fd.fileno(), n); print(fd.getsockopt(6, TCP_INFO, 32)[28])"
        ),
        "ok 7\n3\n0",
    ),
    "again": ("fd = server()[0]; print(listen(fd, 9), listen(fd, -1))", "ok ok"),
    "and closed": (
        "for _ in range(100): fd = server()[0]; os.close(fd); print(on_new(connect, tcp()))",
        "\n".join(["ECONNREFUSED"] * 100),
    ),
    "after a shutdown": ("fd = server()[0]; print(said(libc.shutdown(fd, 2)), listen(fd), listen(fd))", "ok ok ok"),
    "where another one listens": (
        "a, b = new(reuse=1), new(reuse=1); print(bind(a, tcp()), bind(b, tcp()), listen(b), listen(a))",
        "ok ok ok EADDRINUSE",
    ),
}  # fmt: skip

# For a program that was root and is nobody now.
PRIVILEGED = {
    "a port below 1024": ("print(bind(new(), tcp(port=80)), bind(new(), tcp(port=1023)))", "EACCES EACCES"),
    "of UDP and IPv6": (
        "print(bind(new(kind=SOCK_DGRAM), tcp(port=53)), bind(new(AF_INET6), tcp6(port=80)))", "EACCES EACCES"
    ),
    "the held port": ("print(server()[1:], bind(new(), tcp(port=1024)))", "('ok', 'ok') ok"),
    "of others": ("print(bind(new(), tcp('203.0.113.1', 80)))", "EADDRNOTAVAIL"),
    "of another family": ("print(bind(new(), tcp6(port=80)), bind(new(), tcp(port=80), 8))", "EAFNOSUPPORT EINVAL"),
    "after a bind": ("fd = new(); print(bind(fd, tcp()), bind(fd, tcp(port=80)))", "ok EACCES"),
}  # fmt: skip
BECOME_NOBODY = f"os.setgroups([]); os.setresgid(*[{NOBODY}] * 3); os.setresuid(*[{NOBODY}] * 3)\n"

# What the kernel does with several sockets on one port that share it.
SHARING = {
    "TCP": ("a, b = (server(share=1)[0] for _ in 'ab'); print(*spread(a, b))", "True True"),
    "TCP with SO_REUSEADDR": ("a, b = (server(share=1, reuse=1)[0] for _ in 'ab'); print(*spread(a, b))", "True True"),
    "UDP": ("a, b = (endpoint(share=1) for _ in 'ab'); print(*spread(a, b))", "True True"),
    "UDP with SO_REUSEADDR": ("a, b = (endpoint(share=1, reuse=1) for _ in 'ab'); print(*spread(a, b))", "True True"),
    "UDP, one on every address": (
        (
            "one = socket(fileno=everywhere()); one.settimeout(10)\n"
            "socket(AF_INET, SOCK_DGRAM).sendto(b'x', ('127.0.0.1', port)); print(one.recv(9))"
        ),
        "b'x'",
    ),
    "UDP, two on every address": ("a, b = everywhere(), everywhere(); print(*spread(a, b))", "True True"),
    "UDP that is steered": ("print(steer(endpoint(share=1)))", "ok"),
}


# For `--map 8080`.
RENAMED = {
    "getsockname of every length": (
        "fd, a, b = server(); fd6 = new(AF_INET6); bind(fd6, tcp6())\n"
        "print(a, b, *(name(each, n) for each in (fd, fd6) for n in (-1, 0, 1, 3, 4, 15, 16, 27, 28, 40)))"
    ),
    "getsockname without memory": (
        "fd, length = server()[0], ctypes.c_int(16)\n"
        "print(said(libc.getsockname(fd, None, ctypes.byref(length))), said(libc.getsockname(fd, edge(), None)), "
        "said(libc.getsockname(fd, edge(), ctypes.byref(length))), said(libc.getsockname(999, None, None)))"
    ),
    "getsockname of all others": (
        "for each in new(), new(kind=SOCK_DGRAM), socket(AF_UNIX).detach(): print(name(each, 16))"
    ),
    "a connect to nobody": "print(connect(new(), tcp()), connect(new(AF_INET6), tcp6()))",
    "a connect, twice": "server(); fd = new(); print(*(connect(fd, tcp(f'127.0.0.{n}')) for n in (1, 1, 2)))",
    "a connect of a server": "print(connect(server()[0], tcp()))",
    "connects of every length": (
        "server(); print(*(on_new(connect, tcp() + bytes(113), n) for n in (-1, 0, 1, 2, 4, 15, 16, 128, 129)))\n"
        "print(*(connect(new(AF_INET6), tcp6('::ffff:127.0.0.1'), n) for n in (16, 23, 24, 28)))"
    ),
    "connects without memory": "print(connect(new(), None, 16), connect(new(), edge(), 16), connect(999, tcp()))",
    "connects of all families": (
        "server(); print(*(connect(new(), a) for a in (tcp(family=77), tcp6(), tcp(family=0))))\n"
        "print(connect(new(AF_INET6), tcp() + bytes(12)), connect(new(kind=SOCK_DGRAM), tcp()))"
    ),
    "connects elsewhere": (
        "server(); print(connect(new(), tcp('203.0.113.1')), connect(new(), tcp('255.255.255.255')), "
        "connect(new(AF_INET6), tcp6('2001:db8::1')), connect(new(), tcp('224.0.0.1')))"
    ),
    "connects that do not block": (
        "fd = new(); bind(fd, tcp()); listen(fd, 0)\n"
        "def soon(): sock = socket(fileno=new()); sock.setblocking(False); return sock.detach()\n"
        "a, b = soon(), soon(); print(connect(a, tcp()), connect(b, tcp()), connect(b, tcp()))"
    ),
    "a connect, and closed": (
        "fd = socket(fileno=server()[0])\n"
        "for _ in range(100):\n"
        "    client = new(); connect(client, tcp()); peer = fd.accept()[0]; os.close(client); peer.setblocking(False)\n"
        "    print(peer.recv(1))"
    ),
    "a connect that a signal interrupts": (
        "fd = new(); bind(fd, tcp()); listen(fd, 0); print(connect(new(), tcp()))\n"
        "signal.signal(signal.SIGALRM, lambda *_: None); signal.siginterrupt(signal.SIGALRM, True)\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05); print(connect(new(), tcp()))\n"
        "signal.setitimer(signal.ITIMER_REAL, 0)"
    ),
    "a connect that goes on after signals": (
        "signal.signal(signal.SIGALRM, lambda *_: None); signal.siginterrupt(signal.SIGALRM, False)\n"
        "fd = new(); bind(fd, tcp()); listen(fd, 0); print(connect(new(), tcp())); main = threading.get_ident()\n"
        "def accept():\n"
        "    while not any(line.split()[3] == '02' for line in open('/proc/self/net/tcp')): pass\n"
        "    for _ in range(100): signal.pthread_kill(main, signal.SIGALRM)\n"
        "    socket(fileno=os.dup(fd)).accept()\n"
        "threading.Thread(target=accept).start(); print(connect(new(), tcp()))"
    ),
    "a connect from a port of one's own": (
        "server(); fd = new(); print(bind(fd, tcp('127.0.0.9', 0)), connect(fd, tcp())); "
        "print(socket(fileno=fd).getsockname()[0])"
    ),
    "binds": (
        "print(server()[1:], bind(new(), tcp()), bind(new(kind=SOCK_DGRAM), tcp()), bind(new(AF_INET6), tcp6()))"
    ),
}  # fmt: skip

# What is not as it is without us, and what it is then: documented (docs/explanation.md).
DIFFERENT = {
    "TCP that is steered after the listen": ("interfaces", "print(steer(server(share=1)[0]))", "ok", "EINVAL"),
    "two sockets, the first with SO_REUSEADDR": (
        "door",
        "a, b = new(reuse=1), new(); print(bind(a, tcp()), bind(b, tcp()))", "ok EADDRINUSE",
        "ok ok",
    ),
}  # fmt: skip

# What the runner is started by: with all of root's capabilities, and with one less than it would like to have.
WAYS = {"interfaces": [], "door": ["setpriv", "--bounding-set=-net_raw"]}


@pytest.fixture(params=WAYS)
def before(request: pytest.FixtureRequest) -> list[str]:
    """What stands in front of the command, so that it takes this way past the hold."""
    if request.param == "door":
        needs_root()
    return WAYS[request.param]


def outcome(command: list[str]) -> tuple[int, str, str]:
    """Of a command that runs to its end."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout, done.stderr


def assert_alike(tmp_path: Path, before: list[str], case: tuple[str, str], *options: str) -> None:
    """The code prints that, plain and supervised, and no other word is said."""
    code, expected = case
    command = [*script(tmp_path, RAW + code), PORT]
    assert outcome(command) == (0, f"{expected}\n", "")
    words = ["--hand-over", SUPERVISED, "--port", PORT, "--only", *options]
    assert outcome([*before, COMMAND, "run", *words, "--", *command]) == (0, f"{expected}\n", "")


@pytest.mark.parametrize("what", BINDS)
def test_bind(what: str, before: list[str], tmp_path: Path) -> None:
    """To the held port."""
    assert_alike(tmp_path, before, BINDS[what], *["--udp"] * what.startswith("UDP"))


@pytest.mark.parametrize("what", LISTENS)
def test_listen(what: str, before: list[str], tmp_path: Path) -> None:
    """With the backlog that the program asked for."""
    assert_alike(tmp_path, before, LISTENS[what])


@pytest.mark.parametrize("what", PRIVILEGED)
def test_a_program_that_is_root_no_more(what: str, tmp_path: Path) -> None:
    """That its supervisor is root is of no use to it."""
    needs_root()
    code, expected = PRIVILEGED[what]
    assert_alike(tmp_path, [], (BECOME_NOBODY + code, expected))


@pytest.mark.parametrize("what", SHARING)
def test_sockets_that_share_the_port(what: str, before: list[str], tmp_path: Path) -> None:
    """They are one group for the kernel, which spreads what comes over them."""
    assert_alike(tmp_path, before, SHARING[what], *["--udp"] * what.startswith("UDP"))


@pytest.mark.parametrize("what", RENAMED)
def test_a_program_with_a_number_of_its_own(what: str, before: list[str], tmp_path: Path) -> None:
    """It prints the same on that number without us, and on another one with `--map`."""
    command = [*script(tmp_path, RAW + RENAMED[what]), "8080"]
    status, printed, errors = outcome(command)
    assert (status, errors) == (0, "")
    assert printed
    assert outcome([*before, COMMAND, "run", "--map", "8080", "--", *command]) == (0, printed, "")


def test_a_connect_that_ends_in_time_has_another_errno(tmp_path: Path) -> None:
    """For the kernel the program's call is the second one of that socket."""
    code = (
        "fd = new(); bind(fd, tcp()); listen(fd, 0); print(connect(new(), tcp())); sock = socket(fileno=new())\n"
        "sock.setsockopt(SOL_SOCKET, SO_SNDTIMEO, struct.pack('@ll', 0, 50000)); print(connect(sock.fileno(), tcp()))"
    )
    command = [*script(tmp_path, RAW + code), "8080"]
    assert outcome(command) == (0, "ok\nEINPROGRESS\n", "")
    assert outcome([COMMAND, "run", "--map", "8080", "--", *command]) == (0, "ok\nEALREADY\n", "")


@pytest.mark.parametrize("what", DIFFERENT)
def test_what_is_different(what: str, tmp_path: Path) -> None:
    """The kernel has no group for a single SO_REUSEPORT socket; the door takes SO_REUSEADDR on both sides."""
    way, code, plain, supervised = DIFFERENT[what]
    command = [*script(tmp_path, RAW + code), PORT]
    assert outcome(command) == (0, f"{plain}\n", "")
    words = ["--hand-over", SUPERVISED, "--port", PORT, "--only"]
    assert outcome([*WAYS[way], COMMAND, "run", *words, "--", *command]) == (0, f"{supervised}\n", "")
