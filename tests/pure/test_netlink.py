"""What the kernel answers, what garbage does to its reader, and a dump from its first question to its end."""

import errno
import struct
from itertools import repeat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anyport._linux import netlink, sock_diag
from helpers.fake_kernel import DONE, HEADER, INTERRUPTED, Kernel, message, rows


@given(st.lists(st.tuples(st.integers(16, 60000), st.binary(max_size=40)), min_size=1, max_size=5))
def test_messages_come_back(parts: list[tuple[int, bytes]]) -> None:
    """What was put together is cut apart again."""
    datagram = b"".join(message(kind, payload) for kind, payload in parts)
    assert list(netlink.messages(datagram)) == parts


@given(st.binary(max_size=200))
def test_garbage_gives_the_documented_error_only(datagram: bytes) -> None:
    """NetlinkError, which is an OSError."""
    try:
        list(netlink.messages(datagram))
    except netlink.NetlinkError:
        pass


def test_a_refusal_carries_the_kernels_errno() -> None:
    """NLMSG_ERROR is a negative errno."""
    with pytest.raises(netlink.NetlinkError) as error:
        list(netlink.messages(message(netlink.NLMSG_ERROR, struct.pack("=i", -13) + bytes(16))))
    assert error.value.errno == 13


def test_the_last_message_of_a_dump_may_carry_an_errno() -> None:
    """As for a protocol whose module is missing; 0 there, or nothing, is the good end."""
    with pytest.raises(netlink.NetlinkError) as error:
        list(netlink.messages(message(netlink.NLMSG_DONE, struct.pack("=i", -2))))
    assert error.value.errno == errno.ENOENT
    for payload in (bytes(4), b"", struct.pack("=i", 5)):
        assert netlink.rows(message(netlink.NLMSG_DONE, payload)) == []


@pytest.mark.parametrize("length", [0, 15, 17, 2**32 - 1])
def test_wrong_lengths_are_refused(length: int) -> None:
    """Shorter than a header, or longer than what is there."""
    with pytest.raises(netlink.NetlinkError):
        list(netlink.messages(HEADER.pack(length, 20, 0, 1, 0)))


def test_an_interrupted_dump_is_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table changed while it was read: rows may be missing."""
    kernel = Kernel([INTERRUPTED], [message(20, b"whole"), DONE])
    monkeypatch.setattr("anyport._linux.netlink._socket.socket", kernel.socket)
    assert netlink.dump(4, 20, b"", netlink.rows) == [b"whole"]
    assert kernel.requests == kernel.closed == 2


def test_a_dump_that_is_always_interrupted_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """After five tries, and no socket is left open."""
    kernel = Kernel(*([INTERRUPTED] for _ in range(5)))
    monkeypatch.setattr("anyport._linux.netlink._socket.socket", kernel.socket)
    with pytest.raises(netlink.Interrupted):
        netlink.dump(4, 20, b"", netlink.rows)
    assert kernel.requests == kernel.closed == 5


@pytest.mark.parametrize("at", range(5))
def test_one_mark_of_interruption_is_enough(at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """At any message of any datagram, that of the end as well."""
    parts = [message(20, b"abc", netlink.NLM_F_DUMP_INTR * (at == index)) for index in range(4)]
    marked = message(netlink.NLMSG_DONE, bytes(4), netlink.NLM_F_DUMP_INTR * (at == 4))
    kernel = Kernel([parts[0] + parts[1], parts[2] + parts[3] + marked], [message(20, b"whole") + DONE])
    monkeypatch.setattr("anyport._linux.netlink._socket.socket", kernel.socket)
    assert netlink.dump(4, 20, b"", netlink.rows) == [b"whole"]
    assert kernel.requests == kernel.closed == 2


def test_lost_answers_are_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """ENOBUFS: the kernel had more than the socket could take; five times is an error."""
    lost: list[bytes | OSError] = [message(20, b"half"), OSError(errno.ENOBUFS, "no")]
    kernel = Kernel(lost, lost, [message(20, b"whole"), DONE], *[lost] * 5)
    monkeypatch.setattr("anyport._linux.netlink._socket.socket", kernel.socket)
    assert netlink.dump(4, 20, b"", netlink.rows) == [b"whole"]
    with pytest.raises(netlink.Interrupted) as error:
        netlink.dump(4, 20, b"", netlink.rows)
    assert error.value.errno == errno.ENOBUFS
    assert kernel.requests == kernel.closed == 8


@pytest.mark.parametrize("number", [errno.EPERM, errno.EINTR, errno.ETIMEDOUT])
def test_an_error_of_the_socket_ends_the_dump(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A time-out, for one: the error itself, not half a table."""
    kernel = Kernel([message(20, b"half"), OSError(number, "no")])
    monkeypatch.setattr("anyport._linux.netlink._socket.socket", kernel.socket)
    with pytest.raises(OSError, match="no") as error:
        netlink.dump(4, 20, b"", netlink.rows)
    assert error.value.errno == number
    assert kernel.requests == kernel.closed == 1


def test_an_answer_without_end_is_a_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message that says done is missing: half a table is no answer."""
    kernel = Kernel([message(20, b"half")])
    monkeypatch.setattr("anyport._linux.netlink._socket.socket", kernel.socket)
    with pytest.raises(TimeoutError):
        netlink.dump(4, 20, b"", netlink.rows)
    assert kernel.closed == 1


@pytest.mark.parametrize("size", [0, 4, 8, 72, 100])
def test_the_last_message_is_no_row(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much the kernel says in it."""
    row = message(20, b"\x02\x0a\0\0\x1f\x90".ljust(72, b"\0"))
    kernel = Kernel([row + row, message(netlink.NLMSG_DONE, bytes(size))])
    monkeypatch.setattr("anyport._linux.netlink._socket.socket", kernel.socket)
    assert netlink.dump(4, 20, b"", sock_diag.ports_in) == [8080, 8080]


def test_empty_datagrams_are_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as come: an error, and no endless loop."""
    kernel = Kernel(repeat(b""), [b""])
    monkeypatch.setattr("anyport._linux.netlink._socket.socket", kernel.socket)
    with pytest.raises(netlink.NetlinkError):
        netlink.dump(4, 20, b"", netlink.rows)
    with pytest.raises(netlink.NetlinkError):
        netlink.ask(4, 20, b"")
    assert kernel.opened == kernel.closed == 2


@st.composite
def answers(draw: st.DrawFn) -> list[bytes | OSError]:
    """Datagrams of rows that are good for the most part: cut, changed, with garbage behind, refusals and errors."""
    found: list[bytes | OSError] = []
    good = rows.map(lambda row: message(20, row))
    bad = st.one_of(
        st.builds(message, st.integers(0, 30), st.binary(max_size=90), st.sampled_from([0, 2, 0x10])),
        st.builds(lambda row, length: message(20, row, 0, length), rows, st.integers(0, 200)),
        st.integers(-200, 200).map(lambda number: message(netlink.NLMSG_ERROR, struct.pack("=i", number))),
        st.just(DONE), st.binary(max_size=40),
    )  # fmt: skip
    for _ in range(draw(st.integers(0, 3))):
        datagram = b"".join(draw(st.lists(st.one_of(good, good, good, bad), max_size=5)))
        if draw(st.integers(0, 4)) == 4:
            datagram = datagram[: draw(st.integers(0, len(datagram)))]
        found.append(datagram)
    end = st.one_of(st.just(DONE), st.sampled_from([errno.ENOBUFS, errno.EINTR]).map(lambda each: OSError(each, "no")))
    return [*found, draw(end)]


@settings(max_examples=300)
@given(st.lists(answers(), min_size=1, max_size=6), st.sampled_from(["tcp", "udp"]))
def test_whatever_the_kernel_answers(given_answers: "list[list[bytes | OSError]]", protocol: str) -> None:
    """Rows, or an OSError; never anything else, never for ever, and no socket stays open."""
    kernel = Kernel(*given_answers)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("anyport._linux.netlink._socket.socket", kernel.socket)
        try:
            found = sock_diag.sockets_in(protocol, [range(1, 65536)])
        except OSError:
            found = []
    assert kernel.opened == kernel.closed
    assert all(0 < row.port <= 65535 and isinstance(row.address, str) for row in found)


@given(st.binary(max_size=60))
def test_one_answer_is_read_or_refused(datagram: bytes) -> None:
    """Of a request that is no dump."""
    kernel = Kernel([datagram])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("anyport._linux.netlink._socket.socket", kernel.socket)
        try:
            assert isinstance(netlink.ask(4, 20, b""), bytes)
        except netlink.NetlinkError:
            pass
    assert kernel.opened == kernel.closed == 1
