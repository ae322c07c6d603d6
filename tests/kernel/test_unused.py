"""Unused means unused where you asked: every occupant against every question, a real server being the judge."""

import contextlib
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

import anyport
from anyport._clock import pauses
from anyport._find import probe, reserved
from anyport._linux import sock_diag
from helpers.support import bound, listening, private_network, program, python

PORT = 20123
WILDCARDS = ["0.0.0.0", "::", "[::]"]  # "::" is dual-stack here, "[::]" with V6ONLY
ADDRESSES = ["127.0.0.1", "127.0.0.2", "::1"]
HOSTS = [None, "0.0.0.0", "127.0.0.1", "127.0.0.2", "::1", "::"]
PROTOCOLS = [{"tcp": True}, {"udp": True}, {"tcp": True, "udp": True}]


def where(address: str) -> tuple[str, bool]:
    """(host, V6ONLY) of an address as written in the lists above."""
    return address.strip("[]"), address == "[::]"


def on_listening(address: str, stack: ExitStack) -> None:
    host, v6only = where(address)
    stack.enter_context(listening(host, PORT, v6only=v6only))


def on_bound(address: str, stack: ExitStack) -> None:
    host, v6only = where(address)
    stack.enter_context(bound(host, PORT, v6only=v6only))


def on_udp(address: str, stack: ExitStack) -> None:
    host, v6only = where(address)
    stack.enter_context(bound(host, PORT, socket.SOCK_DGRAM, v6only=v6only))


def on_time_wait(address: str, _stack: ExitStack) -> None:
    leave_time_wait(address, reuse=True)


def on_time_wait_of_a_plain_server(address: str, _stack: ExitStack) -> None:
    leave_time_wait(address, reuse=False)


def leave_time_wait(address: str, *, reuse: bool) -> None:
    """A server answers one client, closes first and is gone: its side of the connection stays for a minute."""
    host, v6only = where(address)
    near = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    with listening(host, PORT, v6only=v6only, reuse=reuse) as server, socket.create_connection((near, PORT)) as client:
        accepted, _ = server.accept()
        accepted.close()
        assert client.recv(1) == b""


def on_outgoing(address: str, stack: ExitStack) -> None:
    """The number is the source of a connection to somewhere else."""
    server = stack.enter_context(listening(address, 30999))
    client = stack.enter_context(bound(address, PORT))
    client.connect(server.getsockname()[:2])
    stack.enter_context(server.accept()[0])


CASES = [
    *((make, address) for make in (on_listening, on_bound, on_udp) for address in WILDCARDS + ADDRESSES),
    *((make, each) for make in (on_time_wait, on_time_wait_of_a_plain_server) for each in WILDCARDS + ADDRESSES),
    *((on_outgoing, address) for address in ADDRESSES),
]


@contextlib.contextmanager
def server(host: str | None, kind: int, *, reuse: bool) -> Iterator[None]:
    """What the question is for: a server on that host, dual-stack where nothing else was said."""
    with bound(host or "::", PORT, kind, reuse=reuse) as sock:
        if kind == socket.SOCK_STREAM:
            sock.listen()
        yield


def servers_can(host: str | None, protocol: dict[str, bool], *, reuse: bool) -> bool:
    try:
        with ExitStack() as stack:
            for kind in [socket.SOCK_STREAM] * protocol.get("tcp", False) + [socket.SOCK_DGRAM] * protocol.get(
                "udp", False
            ):
                # UDP has no TIME_WAIT: SO_REUSEADDR there means sharing, which is not being unused.
                stack.enter_context(server(host, kind, reuse=reuse and kind == socket.SOCK_STREAM))
    except OSError:
        return False
    return True


def anyport_says(host: str | None, protocol: dict[str, bool], *, strict: bool) -> bool:
    tcp, udp = protocol.get("tcp", False), protocol.get("udp", False)
    try:
        return anyport.find(PORT, only=True, host=host, strict=strict, tcp=tcp, udp=udp) == PORT
    except anyport.NoUnusedPort as error:
        assert [refusal.port for refusal in error.refusals] == [PORT]
        assert error.refusals[0].occupants, "the one who has it is not named"
        return False


@pytest.mark.parametrize(("make", "address"), CASES, ids=lambda value: getattr(value, "__name__", value))
def test_the_verdict_is_what_a_real_server_meets(make: Callable[[str, ExitStack], None], address: str) -> None:
    """For each host and protocol; with leftovers accepted as a server with SO_REUSEADDR, strictly as one without."""
    with private_network(), ExitStack() as stack:
        make(address, stack)
        table = {
            (host, *protocol, "strict" if strict else ""): (
                servers_can(host, protocol, reuse=not strict),
                anyport_says(host, protocol, strict=strict),
            )
            for host in HOSTS
            for protocol in PROTOCOLS
            for strict in (False, True)
        }
    assert {question: seen for question, seen in table.items() if seen[0] != seen[1]} == {}
    assert len({expected for expected, _ in table.values()}) == 2, "the occupant makes no difference to any question"


def test_a_hold_with_its_door_open_is_not_unused() -> None:
    """A socket bound with SO_REUSEADDR lets others in; somebody has the port all the same, TIME_WAIT or not."""
    with private_network():
        leave_time_wait("::", reuse=True)
        with bound("::", PORT, reuse=True):
            assert servers_can(None, {"tcp": True}, reuse=True)
            assert not anyport_says(None, {"tcp": True}, strict=False)


def test_only_numbers_that_were_named_may_have_leftovers() -> None:
    """A number out of a range is given to a server without SO_REUSEADDR too, so it must be clean."""
    with private_network():
        leave_time_wait("127.0.0.1", reuse=True)
        assert anyport.find(PORT) == PORT
        with pytest.raises(anyport.NoUnusedPort) as error:
            anyport.find(in_=[PORT])
        assert {each.state for each in error.value.refusals[0].occupants} == {"TIME_WAIT"}


def test_a_stranger_elsewhere_does_not_spoil_leftovers() -> None:
    """TIME_WAIT on the address that was asked for, a server on another one: unused for a server with SO_REUSEADDR."""
    with private_network():
        leave_time_wait("127.0.0.1", reuse=True)
        with listening("127.0.0.2", PORT, reuse=True):
            assert anyport.find(PORT, only=True, host="127.0.0.1") == PORT


def test_a_stranger_of_the_other_family_does_not_spoil_leftovers() -> None:
    """nginx's `ipv6only=on` on `::` is no occupant of 127.0.0.1; without it, it is."""
    with private_network():
        leave_time_wait("127.0.0.1", reuse=True)
        with listening("::", PORT, v6only=True, reuse=True):
            assert servers_can("127.0.0.1", {"tcp": True}, reuse=True)
            assert anyport.find(PORT, only=True, host="127.0.0.1") == PORT
        with listening("::", PORT, reuse=True):
            assert not servers_can("127.0.0.1", {"tcp": True}, reuse=True)
            with pytest.raises(anyport.NoUnusedPort):
                anyport.find(PORT, only=True, host="127.0.0.1")


def wait_for_state(state: str) -> None:
    """The kernel makes such a socket when it comes to it, which may be after the process has ended."""
    for _ in pauses(60):
        if any(row.state == state for row in sock_diag.sockets("tcp", PORT)):
            return
    pytest.fail(f"no socket is in {state}")


def test_orphans_of_a_killed_server_are_leftovers() -> None:
    """A server that was killed in the middle of a connection leaves FIN_WAIT2, which no process has."""
    code = program("leaves_an_orphan.py")
    import subprocess

    with private_network():
        child = subprocess.Popen(
            [sys.executable, "-c", code, str(PORT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert child.stdin
        assert child.stdout
        with child.stdin, child.stdout:
            assert child.stdout.readline() == "ready\n"
            child.wait()
            wait_for_state("FIN_WAIT2")
            try:
                assert servers_can("127.0.0.1", {"tcp": True}, reuse=True)
                assert not servers_can("127.0.0.1", {"tcp": True}, reuse=False)
                assert anyport_says("127.0.0.1", {"tcp": True}, strict=False)
            finally:
                child.stdin.close()
                child.stdout.read()


def test_ipv6_switched_off_is_not_busy() -> None:
    """The default question, and a name that means both families, find a port; ::1 alone is not this machine's."""
    with private_network(ipv6=False):
        assert anyport.find() in range(10000, 30000)
        assert anyport.find(8080, only=True) == 8080
        assert anyport.find(8081, only=True, host=["localhost"], udp=True, tcp=True) == 8081
        with pytest.raises(anyport.AddressUnavailable, match="::1") as error:
            anyport.find(host="::1")
        assert "IPv6 may be switched off" in error.value.hint


def test_a_system_without_ipv6_sockets_is_asked_for_ipv4_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """`ipv6.disable=1` on the kernel's command line: AF_INET6 is not supported at all."""

    class OnlyIPv4(socket.socket):
        def __init__(self, family: int, kind: int, number: int) -> None:
            if family == socket.AF_INET6:
                raise OSError(97, "Address family not supported by protocol")
            super().__init__(family, kind, number)

    monkeypatch.setattr(probe, "_socket_class", OnlyIPv4)
    monkeypatch.setattr(reserved, "_socket", OnlyIPv4)
    assert anyport.find() in range(10000, 30000)
    with listening("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        assert anyport.find(port, tcp=True, udp=True) != port
    with pytest.raises(anyport.AddressUnavailable):
        anyport.find(host="::1")


def test_a_host_name_means_every_address_it_has() -> None:
    """`localhost` is 127.0.0.1 and ::1 on most machines: taken on one, taken on the name."""
    found = {info[4][0] for info in socket.getaddrinfo("localhost", None)}
    for address in found:
        with private_network(), listening(str(address), PORT):
            assert anyport.find([PORT, 20124], host="localhost") == 20124


def test_the_same_host_twice_is_one() -> None:
    """A wildcard and an address below it are probed one after the other, not against each other."""
    with private_network():
        hosts = ["0.0.0.0", "127.0.0.1", "127.0.0.1", "::", "::1"]
        assert anyport.find(PORT, only=True, host=hosts, tcp=True, udp=True) == PORT


def test_a_probe_leaves_nothing_behind() -> None:
    """Right after the answer a server without any option can bind the number, on every address."""
    code = """
import anyport, socket
for _ in range(200):
    with socket.create_server(("", anyport.find()), reuse_port=False) as server:
        pass
    port = anyport.find(tcp=True, udp=True)
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        tcp.bind(("", port)); udp.bind(("", port))
"""
    assert python(code).returncode == 0


def test_other_refusals_are_told_apart_from_use() -> None:
    """A security policy, and whatever else bind may answer."""
    from anyport._address import TCP
    from anyport._find.probe import endpoints
    from anyport._who.occupants import explain

    (everywhere,) = endpoints((), (TCP,))
    policy, odd = explain([(8080, everywhere, 13), (8080, everywhere, 71)])
    assert str(policy) == "8080/tcp is not permitted: a security policy of this system forbids it"
    assert str(odd) == "8080/tcp is refused: Protocol error (errno 71)"
