"""The policy of a supervisor: its table, row by row, and what holds for any address."""

import socket
import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyport._supervise.policy import (
    AS_IT_IS,
    CONNECT,
    GO_ON,
    LET_IN,
    NAME,
    Policy,
    host_of,
    is_here_anyway,
    port_of,
    protocol_of,
    with_port,
)

Address = Callable[[int], bytes]
HELD, OWN, OTHER, LOW = 20001, 8080, 20002, 80
POLICY = Policy([("tcp", HELD), ("udp", HELD)], {OWN: HELD, LOW: HELD}, 1024)


def v4(port: int, host: str = "127.0.0.1") -> bytes:
    return struct.pack("=H", socket.AF_INET) + struct.pack("!H", port) + socket.inet_aton(host) + bytes(8)


def v6(port: int, host: str = "::1") -> bytes:
    packed = socket.inet_pton(socket.AF_INET6, host)
    return struct.pack("=H", socket.AF_INET6) + struct.pack("!HI", port, 7) + packed + struct.pack("=I", 3)


@pytest.mark.parametrize("address", [v4, v6])
def test_a_held_port_is_let_in(address: Address) -> None:
    """As it is, with all the other bytes of the address."""
    for protocol in ("tcp", "udp"):
        step = POLICY.bind(protocol, address(HELD))
        assert (step.action, step.address, step.number) == (LET_IN, address(HELD), (protocol, HELD))
        assert not step.needs_privilege


@pytest.mark.parametrize("address", [v4, v6])
def test_a_port_that_stands_for_a_held_one_is_let_in_there(address: Address) -> None:
    """For TCP; and then the privilege of the held number counts."""
    for own in (OWN, LOW):
        step = POLICY.bind("tcp", address(own))
        assert (step.action, step.address, step.number) == (LET_IN, address(HELD), ("tcp", HELD))
        assert not step.needs_privilege
    assert POLICY.bind("udp", address(OWN)).action == AS_IT_IS


@pytest.mark.parametrize(("port", "needs"), [(0, False), (1, True), (LOW + 1, True), (1023, True), (1024, False)])
def test_any_other_port_is_bound_as_it_is(port: int, needs: bool) -> None:
    """A low one with the program's own privileges only."""
    for protocol in ("tcp", "udp"):
        step = POLICY.bind(protocol, v4(port))
        assert (step.action, step.address, step.number) == (AS_IT_IS, v4(port), None)
        assert step.needs_privilege == needs


def test_other_sockets_are_none_of_our_business() -> None:
    """Other families, kinds and protocols, and those of other network namespaces (told as no protocol)."""
    inet, inet6, stream, datagram = socket.AF_INET, socket.AF_INET6, socket.SOCK_STREAM, socket.SOCK_DGRAM
    assert [protocol_of(each, stream, socket.IPPROTO_TCP) for each in (inet, inet6)] == ["tcp", "tcp"]
    assert [protocol_of(each, datagram, socket.IPPROTO_UDP) for each in (inet, inet6)] == ["udp", "udp"]
    assert protocol_of(inet, stream, 262) == "tcp"
    for other in (
        (socket.AF_UNIX, stream, 0), (socket.AF_NETLINK, socket.SOCK_RAW, 0), (inet, stream, socket.IPPROTO_SCTP),
        (inet, socket.SOCK_RAW, socket.IPPROTO_TCP),
    ):  # fmt: skip
        assert protocol_of(*other) == ""
    assert POLICY.bind("", v4(HELD)).action == GO_ON
    assert POLICY.listen("", HELD, is_listening=False).action == GO_ON
    assert POLICY.connect("", v4(OWN)).action == GO_ON
    assert POLICY.getsockname("", v4(HELD)).action == GO_ON


@pytest.mark.parametrize(
    ("protocol", "port", "is_listening", "action"),
    [
        ("tcp", HELD, False, LET_IN), ("tcp", HELD, True, GO_ON), ("tcp", OTHER, False, GO_ON),
        ("tcp", 0, False, GO_ON), ("udp", HELD, False, GO_ON),
    ],
)  # fmt: skip
def test_only_the_first_listen_on_a_held_port_is_let_in(
    protocol: str, port: int, is_listening: bool, action: str
) -> None:
    """A second one changes the backlog only; what is not bound gets a port of the kernel's choice."""
    step = POLICY.listen(protocol, port, is_listening=is_listening)
    assert (step.action, step.number) == (action, (protocol, port) if action == LET_IN else None)


def test_clients_find_the_held_port_under_the_program_s_own_number() -> None:
    """TCP, to an address of either family; whether it is this machine's is asked elsewhere."""
    for address in (v4, v6):
        step = POLICY.connect("tcp", address(OWN))
        assert (step.action, step.address) == (CONNECT, address(HELD))
        assert POLICY.connect("tcp", address(OTHER)).action == GO_ON
        assert POLICY.connect("tcp", address(HELD)).action == GO_ON
    assert POLICY.connect("udp", v4(OWN)).action == GO_ON
    assert POLICY.connect("tcp", struct.pack("=H", socket.AF_UNSPEC) + v4(OWN)[2:]).action == GO_ON


def test_names_are_the_program_s_own_number() -> None:
    """The first one, where several stand for one port."""
    step = POLICY.getsockname("tcp", v6(HELD))
    assert (step.action, step.address) == (NAME, v6(OWN))
    assert POLICY.getsockname("tcp", v6(OTHER)).action == GO_ON
    assert POLICY.getsockname("udp", v6(HELD)).action == GO_ON


def test_addresses_that_are_everywhere_on_this_machine() -> None:
    """Loopback, the wildcard, and both as mapped ones."""
    here = ["127.0.0.1", "127.200.0.3", "0.0.0.0"]
    hosts = [host_of(v4(1, host)) for host in here] + [host_of(v6(1, host)) for host in ["::1", "::"]]
    hosts += [host_of(v6(1, f"::ffff:{host}")) for host in here]
    assert all(host is not None and is_here_anyway(host) for host in hosts)
    away = [host_of(v4(1, "128.0.0.1")), host_of(v6(1, "::2")), host_of(v6(1, "::ffff:10.0.0.1"))]
    assert away[2] == bytes([10, 0, 0, 1])
    assert not any(host is None or is_here_anyway(host) for host in away)


@given(st.binary(max_size=128), st.integers(0, 65535))
def test_only_the_port_of_an_address_ever_changes(address: bytes, port: int) -> None:
    """Whatever the bytes are; those too short to have one stay as they are, and are for the kernel to refuse."""
    changed = with_port(address, port)
    assert len(changed) == len(address)
    if len(address) >= 4:
        assert port_of(changed) == port
        assert changed[:2] + changed[4:] == address[:2] + address[4:]
    else:
        assert (changed, port_of(address)) == (address, 0)


@given(st.sampled_from(["tcp", "udp", ""]), st.binary(max_size=128))
def test_nothing_is_let_in_but_to_a_held_port(protocol: str, address: bytes) -> None:
    """And nothing read from memory has the kernel go on with a bind."""
    step = POLICY.bind(protocol, address)
    assert (step.action == GO_ON) == (not protocol)
    if step.action == LET_IN:
        assert step.number == (protocol, port_of(step.address)) == (protocol, HELD)
    elif protocol:
        assert step.address == address
