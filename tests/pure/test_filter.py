"""The filter that the kernel applies to its sockets: run here by the kernel's own rules (net/ipv4/inet_diag.c)."""

import socket
import struct

from hypothesis import given
from hypothesis import strategies as st

from anyport._linux import sock_diag

JMP, S_GE, S_LE = 1, 2, 3
REQUEST = 56  # bytes of struct inet_diag_req_v2
OLD_REQUEST = 60  # of struct inet_diag_req, with the unused field at its end
OPERATION = struct.Struct("=BBH")  # code, and how far to go on if it is so, and if it is not

numbers = st.integers(1, 65535) | st.sampled_from([1, 2, 255, 256, 257, 65534, 65535])
sets = st.lists(
    st.tuples(numbers, numbers).map(lambda ends: range(min(ends), max(ends) + 1)), min_size=1, max_size=64
)  # fmt: skip


def program_of(request: bytes, at: int) -> bytes:
    """The bytecode behind the fixed part of a request: one attribute, which says its own length."""
    length, kind = struct.unpack_from("=HH", request, at)
    assert (length, kind) == (len(request) - at, sock_diag.INET_DIAG_REQ_BYTECODE)
    return request[at + 4 :]


def is_target(program: bytes, left: int) -> bool:
    """Whether an instruction begins so many bytes before the end, as valid_cc() has it."""
    at = 0
    while (rest := len(program) - at) > left:
        step = program[at + 1]
        if step < 4 or step % 4:
            return False
        at += step
    return rest == left


def is_accepted(program: bytes) -> bool:
    """What inet_diag_bc_audit() lets in: jumps forward to instructions, and at most 4 bytes behind the end."""
    at = 0
    while (left := len(program) - at) > 0:
        code, yes, no = OPERATION.unpack_from(program, at)
        size = 4 if code == JMP else 8
        if code not in (JMP, S_GE, S_LE) or left < size:
            return False
        if any(step < size or step > left + 4 or step % 4 for step in (yes, no)):
            return False
        if no < left and not is_target(program, left - no):
            return False
        at += yes
    return at == len(program) > 0


def passes(program: bytes, port: int) -> bool:
    """Whether inet_diag_bc_run() lets a socket with this local port through: it must end exactly at the end."""
    at = 0
    while at < len(program):
        code, yes, no = OPERATION.unpack_from(program, at)
        limit = OPERATION.unpack_from(program, at + 4)[2] if code != JMP else 0
        is_so = {JMP: False, S_GE: port >= limit, S_LE: port <= limit}[code]
        at += yes if is_so else no
    return at == len(program)


@given(sets, st.lists(numbers, max_size=20))
def test_a_socket_passes_if_its_port_is_in_one_of_the_ranges(ranges: list[range], ports: list[int]) -> None:
    """Of random ports, and of those at the ends of each range and next to them."""
    program = program_of(sock_diag.question(socket.AF_INET, "tcp", ranges), REQUEST)
    assert is_accepted(program)
    ends = {end + step for part in ranges for end in (part[0], part[-1]) for step in (-1, 0, 1)}
    for port in {*ports, *ends} & set(range(65536)):
        assert passes(program, port) is any(port in part for part in ranges), port


@given(sets, st.sampled_from(["tcp", "udp"]), st.sampled_from([socket.AF_INET, socket.AF_INET6]))
def test_every_request_has_the_same_filter(ranges: list[range], protocol: str, family: int) -> None:
    """Whatever the family and the protocol, and in the old request too."""
    program = program_of(sock_diag.question(socket.AF_INET, "tcp", ranges), REQUEST)
    assert program_of(sock_diag.question(family, protocol, ranges), REQUEST) == program
    assert program_of(sock_diag.question_of_both(ranges), OLD_REQUEST) == program


def test_the_model_refuses_what_the_kernel_does() -> None:
    """A loop, a jump into an instruction, one too far, an unknown code, an instruction that is cut short."""
    good = program_of(sock_diag.question(socket.AF_INET, "tcp", [range(80, 90), range(8080, 8081)]), REQUEST)
    assert is_accepted(good)
    for at, value in ((1, 0), (1, 4), (2, 4), (2, 12), (2, 22), (0, 99), (1, 200)):
        changed = bytearray(good)
        changed[at] = value
        assert not is_accepted(bytes(changed)), (at, value)
    assert not is_accepted(good[:-4])
    assert not is_accepted(b"")


def test_without_ranges_there_is_no_filter() -> None:
    """All sockets of a family are asked for then."""
    assert len(sock_diag.question(socket.AF_INET6, "udp", [])) == REQUEST


def test_the_question_for_one_port_is_the_bytes_of_the_header_file() -> None:
    """Golden bytes: inet_diag_req_v2 for IPv4 TCP, all states, then the filter `8080 <= sport <= 8080`."""
    asked = sock_diag.question(socket.AF_INET, "tcp", [range(8080, 8081)])
    request = "02060000fe3f0000" + "00" * 40 + "ff" * 8
    assert asked.hex() == request + "14000100" + "02081400" + "0000901f" + "03080c00" + "0000901f"


def test_the_question_for_two_ranges_is_the_bytes_of_the_header_file() -> None:
    """Golden bytes: inet_diag_req_v2 for IPv6 UDP in LISTEN, then `(80 <= sport <= 89) or (sport is 443)`."""
    asked = sock_diag.question(socket.AF_INET6, "udp", [range(80, 90), range(443, 444)], 1 << 10)
    request = "0a110000" + "00040000" + "00" * 40 + "ff" * 8
    first = "02081400" + "00005000" + "03080c00" + "00005900"
    second = "02081400" + "0000bb01" + "03080c00" + "0000bb01"
    assert asked.hex() == request + "28000100" + first + "01041400" + second


def test_the_old_question_is_the_bytes_of_the_header_file() -> None:
    """Golden bytes: inet_diag_req for both families with the port of one number, and without for a range."""
    filled = sock_diag.question_of_both([range(8080, 8081)])
    one = "00000000" + "1f90" + "00" * 38 + "ff" * 8 + "fe3f0000" + "00" * 4
    program = "14000100" + "02081400" + "0000901f" + "03080c00" + "0000901f"
    assert filled.hex() == one + program
    assert sock_diag.question_of_both([range(8080, 8082)])[4:6] == b"\0\0"
