"""The filter of a supervised program, in a small interpreter of its own; and the records of its calls."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyport._linux import bpf, seccomp
from anyport._linux.netlink import NetlinkError
from anyport._linux.rtnetlink import route_type

X86_64, AARCH64, I386 = 0xC000003E, 0xC00000B7, 0x40000003
ALLOW, WAIT = seccomp.SECCOMP_RET_ALLOW, seccomp.SECCOMP_RET_USER_NOTIF
NUMBERS = st.integers(0, 0xFFFFFFFF)


def action(program: "list[bpf.Instruction]", arch: int, number: int) -> int:
    """What the kernel would do with this call (Documentation/networking/filter.rst)."""
    data = struct.pack("=II", number, arch)
    accumulator = at = 0
    while True:
        code, yes, no, value = program[at]
        at += 1
        if code == bpf.BPF_RET_K:
            return value
        if code == bpf.BPF_LD_W_ABS:
            (accumulator,) = struct.unpack_from("=I", data, value)
        else:
            holds = {bpf.BPF_JEQ_K: accumulator == value, bpf.BPF_JGE_K: accumulator >= value}[code]
            at += yes if holds else no


@given(st.sampled_from([X86_64, AARCH64, I386, 0]), NUMBERS, st.lists(NUMBERS, max_size=4))
def test_only_the_calls_that_were_named_wait(arch: int, number: int, named: list[int]) -> None:
    """Of this architecture, and not those of x32, which has the same word for it."""
    program = seccomp.trap(X86_64, named)
    for each in (number, *named):
        waits = arch == X86_64 and each in named and each < 0x40000000
        assert action(program, arch, each) == (WAIT if waits else ALLOW)


def test_the_architecture_is_looked_at_first() -> None:
    """Before any number, which would mean another call there."""
    assert seccomp.trap(X86_64, [49])[0] == (bpf.BPF_LD_W_ABS, 0, 0, 4)


@pytest.mark.parametrize(("name", "numbers"), [("x86_64", (49, 50, 42, 51)), ("aarch64", (200, 201, 203, 204))])
def test_the_numbers_of_the_calls(name: str, numbers: tuple[int, ...]) -> None:
    """asm/unistd_64.h and asm-generic/unistd.h."""
    machine = seccomp._MACHINES[name]
    assert tuple(machine.calls[call] for call in ("bind", "listen", "connect", "getsockname")) == numbers


@given(NUMBERS, NUMBERS, st.lists(st.integers(0, 2**64 - 1), min_size=6, max_size=6))
def test_a_call_is_read_from_80_bytes(number: int, tid: int, args: list[int]) -> None:
    """struct seccomp_notif: id, pid, flags; then struct seccomp_data: nr, arch, instruction pointer, arguments."""
    call = seccomp.Notification(struct.pack("=QIIiIQ6Q", number, tid, 0, 49, X86_64, 123, *args))
    assert (call.id, call.tid, call.nr, call.args) == (number, tid, 49, args)


@given(st.binary(max_size=40))
def test_a_route_is_read_or_refused(answer: bytes) -> None:
    """struct rtmsg: twelve bytes, the type in the eighth."""
    if len(answer) < 12:
        with pytest.raises(NetlinkError):
            route_type(answer)
    else:
        assert route_type(answer) == answer[7]
