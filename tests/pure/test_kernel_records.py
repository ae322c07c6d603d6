"""What the kernel hands us as bytes: signalfd records, lines of /proc; whatever else comes does no harm."""

import signal
import struct

from hypothesis import given
from hypothesis import strategies as st

from anyport._linux import proc, signalfd
from anyport._run.signals import is_for_program


@given(st.lists(st.tuples(st.integers(1, 64), st.integers(-60, 130))))
def test_signals_are_read_as_they_came(sent: list[tuple[int, int]]) -> None:
    """Number and code, in their order."""
    data = b"".join(struct.pack("=IiiI112x", number, 0, code, 1) for number, code in sent)
    assert [(info.number, info.code) for info in signalfd.parse(data)] == sent
    assert len(signalfd.parse(data[:-1])) == max(0, len(sent) - 1)


@given(st.sets(st.integers(1, 64)))
def test_a_set_of_signals_has_a_bit_for_each(numbers: set[int]) -> None:
    """Signal N is bit N - 1, in 128 bytes as in the C library."""
    bits = signalfd.sigset(numbers)
    assert len(bits) == 128
    assert {at + 1 for at in range(1024) if int.from_bytes(bits, "little") >> at & 1} == numbers


def test_what_a_process_sent_is_for_the_program() -> None:
    """Not what the terminal or the kernel sends, nor what tells us of a child."""
    user, queue, kernel = 0, -1, 0x80
    assert is_for_program(signalfd.Siginfo(signal.SIGTERM, user, 1))
    assert is_for_program(signalfd.Siginfo(signal.SIGUSR1, queue, 1))
    assert not is_for_program(signalfd.Siginfo(signal.SIGINT, kernel, 0))
    assert not is_for_program(signalfd.Siginfo(signal.SIGCHLD, user, 1))
    assert not is_for_program(signalfd.Siginfo(signal.SIGCONT, user, 1))


@given(
    st.binary(max_size=15), st.sampled_from("RSDZTtX"), st.integers(0, 1 << 22), st.integers(0, 2**32 - 1),
    st.integers(0, 2**63),
)  # fmt: skip
def test_a_stat_line_is_read_whatever_the_program_is_called(
    name: bytes, state: str, parent: int, flags: int, started: int
) -> None:
    """Names may hold spaces and parentheses."""
    line = b"%d (%s) %s %d 1 1 0 -1 %d 5 6 7 8 9 10 11 12 20 0 17 0 %d 13 14" % (
        7, name, state.encode(), parent, flags, started,
    )  # fmt: skip
    found = proc.parse_stat(line)
    assert found
    assert (found.state, found.parent, found.has_execed) == (state, parent, not flags & 0x40)
    assert (found.threads, found.started) == (17, started)


@given(st.binary(max_size=60))
def test_noise_is_no_stat_line(noise: bytes) -> None:
    """It gives nothing, and no other error."""
    proc.parse_stat(noise)
    assert proc.parse_stat(b"1 (x) S") is None
