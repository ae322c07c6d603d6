"""Hosts, families and protocols."""

import pytest

from anyport import AddressUnavailable
from anyport._address import AF_INET, AF_INET6, TCP, UDP, may_overlap
from anyport._find.probe import endpoints


def test_no_host_means_everywhere_dual_stack() -> None:
    """One endpoint a protocol, for every address of both families."""
    tcp, udp = endpoints((), (TCP, UDP))
    assert (tcp.family, tcp.host, tcp.everywhere, tcp.protocol) == (AF_INET6, "::", True, "tcp")
    assert (udp.protocol, udp.hosts, udp.written) == ("udp", ["0.0.0.0", "::"], "*")


def test_literal_addresses_mean_themselves() -> None:
    """In the order given, none of them optional."""
    four, six = endpoints(("127.0.0.1", "::1"), (TCP,))
    assert four.sockaddr(80) == ("127.0.0.1", 80)
    assert six.sockaddr(80) == ("::1", 80, 0, 0)
    assert (four.family, six.family, four.optional, six.optional) == (AF_INET, AF_INET6, False, False)


def test_a_link_local_address_keeps_its_scope() -> None:
    """fe80::1%lo is bound on that interface."""
    (found,) = endpoints(("fe80::1%lo",), (TCP,))
    assert found.sockaddr(80) == ("fe80::1", 80, 0, 1)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "x" * 300, "127.0.0.1.5"])
def test_a_host_that_means_nothing_is_named(host: str) -> None:
    """The message repeats the host and the resolver's reason."""
    with pytest.raises(AddressUnavailable, match="does not resolve") as error:
        endpoints((host,), (TCP,))
    assert host in str(error.value)
    assert error.value.hint


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("127.0.0.1", "127.0.0.1", True), ("127.0.0.1", "127.0.0.2", False), ("0.0.0.0", "127.0.0.2", True),
        ("0.0.0.0", "::1", False), ("::", "127.0.0.1", True), ("::", "::1", True), ("::1", "127.0.0.1", False),
        ("::ffff:127.0.0.1", "127.0.0.1", True), ("::ffff:127.0.0.1", "0.0.0.0", True),
    ],
)  # fmt: skip
def test_which_addresses_can_be_in_each_others_way(one: str, other: str, *, expected: bool) -> None:
    """The overlap table, the same both ways round."""
    assert may_overlap(one, other) is may_overlap(other, one) is expected
