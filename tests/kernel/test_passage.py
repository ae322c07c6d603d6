"""What a supervisor learns from the kernel, and how a socket passes its hold."""

import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from errno import EADDRINUSE, EFAULT, EINVAL
from functools import partial
from pathlib import Path

import pytest

from anyport._clock import pauses
from anyport._linux import process_vm, rtnetlink
from anyport._linux.socket import SO_BINDTOIFINDEX
from anyport._supervise import enter, passage, supervisor
from helpers.attackers import OPTIONS
from helpers.support import NOBODY, bound, listening, needs, needs_root, python_as


def test_own_addresses_are_local_and_others_are_not() -> None:
    """By the kernel's routes: also a second address of an interface, and each one of 127.0.0.0/8."""
    needs_root()
    ip = needs("ip")
    for line in ("link add one type veth peer two", "addr add 192.0.2.1/24 dev one", "addr add 192.0.2.2/24 dev one",
                 "addr add 2001:db8::1/64 dev one nodad", "link set one up", "link set lo up"):  # fmt: skip
        if subprocess.run([ip, *line.split()], check=False).returncode:
            pytest.fail(f"ip {line}")
    local = {
        host: rtnetlink.is_local(socket.inet_aton(host))
        for host in ("127.0.0.9", "192.0.2.1", "192.0.2.2", "192.0.2.3")
    }
    assert local == {"127.0.0.9": True, "192.0.2.1": True, "192.0.2.2": True, "192.0.2.3": False}
    # The kernel enters the route of an IPv6 address by a worker, a moment after the link is up.
    first = socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    assert any(rtnetlink.is_local(first) for _ in pauses(60))
    six = {
        host: rtnetlink.is_local(socket.inet_pton(socket.AF_INET6, host))
        for host in ("::1", "2001:db8::1", "2001:db8::2")
    }
    assert six == {"::1": True, "2001:db8::1": True, "2001:db8::2": False}
    with pytest.raises(OSError, match="netlink"):
        rtnetlink.is_local(socket.inet_aton("198.51.100.1"))


def test_memory_is_read_whole_or_not_at_all() -> None:
    """As a system call does: EFAULT where one byte is missing."""
    import ctypes

    text = ctypes.create_string_buffer(b"sixteen bytes of")
    assert process_vm.read(os.getpid(), ctypes.addressof(text), 16) == b"sixteen bytes of"
    memory = process_vm.open_to_write(os.getpid())
    process_vm.write(memory, ctypes.addressof(text), b"SIX")
    assert text.value == b"SIXteen bytes of"
    for address in (0, 1 << 46, (1 << 64) - 16):
        for act in (lambda at: process_vm.read(os.getpid(), at, 16), lambda at: process_vm.write(memory, at, b"SIX")):
            with pytest.raises(OSError, match=r"Bad address|only a part") as caught:
                act(address)
            assert caught.value.errno == EFAULT
    os.close(memory)


def test_low_ports_need_the_capability() -> None:
    """Root has it; another user, and whoever is in a user namespace of his own, has not."""
    needs_root()
    assert supervisor._may_bind_low_ports(os.getpid())
    assert (
        python_as(
            65534, "from anyport._supervise import supervisor\nprint(supervisor._may_bind_low_ports(os.getpid()))"
        ).stdout
        == "False\n"
    )
    child = subprocess.Popen(
        [needs("unshare"), "-U", sys.executable, "-c", "print(flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdout
    child.stdout.readline()
    assert not supervisor._may_bind_low_ports(child.pid)
    child.communicate(b"\n")


def test_who_may_change_interfaces_leaves_no_gap() -> None:
    """CAP_NET_RAW decides, learnt by trying."""
    needs_root()
    assert passage._may_change_interface()
    assert (
        python_as(65534, "from anyport._supervise import passage\nprint(passage._may_change_interface())").stdout
        == "False\n"
    )


def test_a_program_that_gains_privileges_is_known(tmp_path: Path) -> None:
    """set-uid and set-gid of others, and file capabilities."""
    needs_root()
    code = "from anyport._supervise import enter\nprint(*[enter.gains_privileges(path) for path in sys.argv[1:]])"
    files = [tmp_path / name for name in ("plain", "setuid", "setgid", "locking", "capable")]
    for file, mode in zip(files, (0o755, 0o4755, 0o2755, 0o2745, 0o755), strict=True):
        file.write_text("")
        file.chmod(mode)
    os.setxattr(files[-1], "security.capability", struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0))
    tmp_path.chmod(0o755)
    for folder in tmp_path.parents:
        if folder.stat().st_uid == os.geteuid() and str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    assert python_as(65534, code, *map(str, files)).stdout == "False True True False True\n"
    assert [enter.gains_privileges(str(file)) for file in files] == [False] * 5


def test_a_program_of_32_bits_is_known(tmp_path: Path) -> None:
    """By its ELF header; a script, and what can't be read, is none."""
    files = [tmp_path / name for name in ("32", "64", "script", "missing")]
    for file, head in zip(files, (b"\x7fELF\1\1", b"\x7fELF\2\1", b"#!/x"), strict=False):
        file.write_bytes(head)
    assert [enter.is_of_32_bits(str(file)) for file in files] == [True, False, False, False]


@pytest.mark.parametrize(("host", "protocol"), [("127.0.0.1", "tcp"), ("::1", "tcp"), ("::", "udp")])
def test_a_socket_passes_its_hold_and_keeps_its_options(host: str, protocol: str) -> None:
    """By both ways; SO_REUSEADDR, SO_REUSEPORT and the interface are as before, on both sockets."""
    needs_root()
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    options = [socket.SO_REUSEADDR, socket.SO_REUSEPORT, SO_BINDTOIFINDEX]
    for has_interfaces in (True, False):
        with (
            bound("::", 0, kind) as hold,
            socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind) as sock,
        ):
            number = protocol, hold.getsockname()[1]
            way = passage.Passage({number: [hold]})
            way._has_interfaces = has_interfaces
            for value in (0, 1):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, value)
                before = [[each.getsockopt(socket.SOL_SOCKET, option) for option in options] for each in (hold, sock)]
                with pytest.raises(OSError, match="in use"):
                    sock.bind((host, number[1]))
                assert way.let_in(sock, number, sock.getsockname) == 0
                assert [
                    [each.getsockopt(socket.SOL_SOCKET, option) for option in options] for each in (hold, sock)
                ] == before
            assert way.let_in(sock, number, partial(sock.bind, (host, number[1]))) == 0
            if protocol == "tcp":
                with pytest.raises(OSError, match="in use"):
                    sock.listen()
                assert way.let_in(sock, number, sock.listen) == 0


@pytest.mark.parametrize(("has_interfaces", "expected"), [(True, {"lo"}), (False, {"reuseaddr", "both"})])
def test_who_could_come_in_during_the_call(has_interfaces: bool, expected: set[str]) -> None:
    """By interfaces one that is bound to lo, and no option helps; by the door whoever sets SO_REUSEADDR."""
    needs_root()
    came: set[str] = set()
    with bound("::", 0) as hold, socket.socket() as sock:
        number = "tcp", hold.getsockname()[1]

        def attack() -> None:
            for option, values in OPTIONS.items():
                came.update([option] * binds(number[1], values, ""))
            came.update(["lo"] * binds(number[1], [], "lo"))

        way = passage.Passage({number: [hold]})
        way._has_interfaces = has_interfaces
        attack()
        assert came == set()
        assert way.let_in(sock, number, attack) == 0
        assert came == expected
        came.clear()
        attack()
        # One with both options, let in by the door, leaves the mark of SO_REUSEPORT, for others of its user.
        assert came <= (set() if has_interfaces else {"reuseport", "both"})


@pytest.mark.parametrize("owner", [0, NOBODY])
@pytest.mark.parametrize(
    ("family", "others"), [(socket.AF_INET, {"reuseport", "both", "lo"}), (socket.AF_INET6, {"lo"})]
)
def test_who_could_come_in_beside_a_udp_socket_that_shares(
    family: socket.AddressFamily, others: set[str], owner: int
) -> None:
    """Never one with SO_REUSEADDR alone; one that is bound to lo, and beside IPv4's those of its user that share."""
    needs_root()
    came: list[set[str]] = []
    with bound("::", 0, socket.SOCK_DGRAM) as hold, socket.socket(family, socket.SOCK_DGRAM) as sock:
        os.fchown(sock.fileno(), owner, -1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        port = hold.getsockname()[1]

        def attack() -> None:
            for uid in (owner, 1):
                came.append({name for name, values in OPTIONS.items() if binds(port, values, "", uid=uid)})
                came[-1].update(["lo"] * binds(port, [], "lo", uid=uid))

        attack()
        assert passage.Passage({("udp", port): [hold]}).let_in(sock, ("udp", port), attack) == 0
        attack()
        assert came == [set(), set(), others, others & {"lo"}, set(), set()]
        assert os.fstat(hold.fileno()).st_uid == 0


def binds(port: int, options: list[int], interface: str, *, uid: "int | None" = None) -> bool:
    """Whether a stranger's TCP socket can be bound, or this user's UDP socket."""
    with socket.socket(type=socket.SOCK_STREAM if uid is None else socket.SOCK_DGRAM) as stranger:
        os.fchown(stranger.fileno(), uid or 0, -1)
        for option in options:
            stranger.setsockopt(socket.SOL_SOCKET, option, 1)
        if interface:
            stranger.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        try:
            stranger.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


Door = tuple[passage.Passage, tuple[str, int], socket.socket]


@pytest.fixture
def door() -> Iterator[Door]:
    """A way past a hold, its number, and a socket of the program's."""
    with bound("::", 0) as hold, socket.socket() as sock:
        number = "tcp", hold.getsockname()[1]
        yield passage.Passage({number: [hold]}), number, sock


class Refused:
    """A call that is refused so many times, and counts how often it was made; then something happens."""

    def __init__(self, times: int, then: Callable[[], object] = lambda: None) -> None:
        self.left = times
        self.made = 0
        self.then = then

    def __call__(self) -> None:
        self.made += 1
        if self.made > self.left:
            self.then()
        else:
            raise OSError(EADDRINUSE, "Address already in use")


@pytest.mark.parametrize(("times", "errno"), [(149, 0), (150, EADDRINUSE)])
def test_a_call_is_made_again_while_nobody_is_seen(door: Door, times: int, errno: int) -> None:
    """Who came in by chance is gone soon."""
    way, number, sock = door
    call = Refused(times)
    assert way.let_in(sock, number, call) == errno
    assert call.made == 150


def test_a_call_is_made_again_until_a_stranger_has_gone(door: Door) -> None:
    """Longer than with nobody to be seen: as long as one is, and at most 0.2 seconds."""
    way, number, sock = door
    way.stay_open()  # for the stranger
    with listening("127.0.0.1", number[1], reuse=True) as stranger:
        way._stays_open = False
        call = Refused(200)
        assert way.let_in(sock, number, call) == 0
        call = Refused(1 << 30)
        begin = time.monotonic()
        assert way.let_in(sock, number, call) == EADDRINUSE
        assert time.monotonic() - begin > 0.2
        way._remember(stranger, number)
        call = Refused(1 << 30)
        assert way.let_in(sock, number, call) == EADDRINUSE
        assert call.made == 50, "the program is in its own way"


def test_other_errors_are_final(door: Door) -> None:
    """Only EADDRINUSE may be over soon."""
    way, number, sock = door
    made: list[int] = []

    def fail() -> None:
        made.append(1)
        raise OSError(EINVAL, "Invalid argument")

    assert way.let_in(sock, number, fail) == EINVAL
    assert made == [1]


def test_where_the_door_stays_open_strangers_are_not_waited_for(door: Door) -> None:
    """They may come in at any time, and a process that can't be supervised is one for us."""
    way, number, sock = door
    way.stay_open()
    with listening("127.0.0.1", number[1], reuse=True):
        call = Refused(1 << 30)
        assert way.let_in(sock, number, call) == EADDRINUSE
    assert call.made == 50


def test_what_was_let_in_is_remembered_as_long_as_it_listens(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there were."""
    monkeypatch.setattr(passage, "_MOST", 3)
    way, number, sock = door
    assert way.let_in(sock, number, partial(sock.bind, ("127.0.0.1", number[1]))) == 0
    assert way.let_in(sock, number, sock.listen) == 0
    for _ in range(10):
        with socket.socket() as other:
            assert way.let_in(other, number, partial(other.bind, ("127.0.0.2", number[1]))) == 0
    assert len(way._let_in[number]) <= 3
    assert way._who_is_there(number) == passage._OURS
