"""Distinct: what was given out is not given again while there is another."""

import ctypes
import os
import threading
import time
from collections import Counter

import pytest

import anyport
from anyport._find.candidates import Offer
from anyport._linux.sysctl import PortSettings
from anyport._ports import QUIET
from helpers.support import anyport as command
from helpers.support import bound, listening, numbers, outputs_of, private_network, program, python

MANY = """
import sys, anyport
count, ephemeral = int(sys.argv[1]), sys.argv[2] == "ephemeral"
print(*(anyport.find(ephemeral=ephemeral) for _ in range(count)))
"""
SOURCES = ["quiet", "ephemeral"]


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(("processes", "each"), [(1, 10_000), (8, 1_250), (1, 15_000)])
def test_ten_thousand_calls_give_ten_thousand_ports(source: str, processes: int, each: int) -> None:
    """In one process, in eight at once; 15,000 are more than the odd numbers that bind(0) draws from."""
    with private_network():
        ports = numbers(" ".join(outputs_of(MANY, processes, str(each), source)))
    assert len(ports) == len(set(ports)) == processes * each


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES)
def test_three_hundred_commands_give_three_hundred_ports(source: str) -> None:
    """Each a process of its own."""
    options = ["--ephemeral"] if source == "ephemeral" else []
    with private_network():
        ports = [int(command(*options).stdout) for _ in range(300)]
    assert len(set(ports)) == 300
    assert all((port in QUIET) == (source == "quiet") for port in ports)


def test_bind_zero_and_close_repeats_itself() -> None:
    """The naive way, for comparison: 10,000 draws from 14,116 odd numbers collide."""
    code = """
import socket
def draw():
    with socket.socket() as sock:
        sock.bind(("", 0))
        return sock.getsockname()[1]
print(len({draw() for _ in range(10_000)}))
"""
    with private_network():
        assert int(python(code).stdout) < 8_000


@pytest.mark.slow
def test_when_all_were_given_the_one_given_longest_ago_comes_again() -> None:
    """Twice around the quiet range, in one order, and nothing blocks."""
    code = "import anyport\nprint(*(anyport.find() for _ in range(41_000)))"
    with private_network():
        ports = numbers(python(code).stdout)
    size = sum(map(Offer(PortSettings(32768, 60999, frozenset())).is_quiet, QUIET))
    assert len(set(ports[:size])) == size
    assert ports[size : 2 * size] == ports[:size]
    assert ports[2 * size :] == ports[: 41_000 - 2 * size]


def test_a_list_is_given_around_and_around() -> None:
    """Of three numbers, each once before any twice; the command says when one was given before."""
    first = [anyport.find(in_="20123-20125") for _ in range(3)]
    assert sorted(first) == [20123, 20124, 20125]
    assert [anyport.find(in_="20123-20125") for _ in range(6)] == first * 2
    again = command("--in", "20123-20125")
    assert int(again.stdout) == first[0]
    assert "was given out" in again.stderr


def test_the_age_of_a_names_claim_is_told_truly() -> None:
    """Seconds since it was given, as for any other."""
    web = command("--name", "web").stdout.strip()
    age = command("--in", web).stderr.partition("was given out ")[2].partition(" s ago")[0]
    assert 0 <= float(age) < 30
    assert anyport.find_many(1, in_=web, keep=0) == [int(web)]


def test_the_note_about_age_is_not_said_while_there_is_another() -> None:
    """Silence is the rule."""
    assert command("--in", "20123-20125").stderr == ""
    assert command().stderr == ""


def test_threads_share_one_ledger() -> None:
    """Eight threads, no number twice."""
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.extend(anyport.find() for _ in range(400))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == len(set(found)) == 3_200


FORKS = program("finds_in_forks.py")


def test_forked_children_share_one_ledger() -> None:
    """They inherit the import, not the numbers that the parent has claimed ahead."""
    ports = numbers(python(FORKS).stdout)
    assert len(ports) == len(set(ports)) == 740


def test_forked_children_share_the_ledger_of_their_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where there is no place for a file."""
    monkeypatch.setenv("ANYPORT_LEDGER", "/proc/nowhere")
    code = "import warnings; warnings.simplefilter('ignore')\n" + FORKS
    ports = numbers(python(code).stdout)
    assert len(ports) == len(set(ports)) == 740


def test_a_number_that_was_named_is_decided_by_the_bind_alone() -> None:
    """`anyport 3000` twice is 3000 twice."""
    assert [int(command("3000").stdout) for _ in range(2)] == [3000, 3000]


def test_keep_nothing_does_without_the_ledger(ledger: object) -> None:
    """No file is made; the number is drawn by chance."""
    from pathlib import Path

    ports = [anyport.find(keep=0) for _ in range(50)]
    assert len(set(ports)) > 25
    assert all(port in QUIET for port in ports)
    assert not Path(str(ledger)).exists()
    assert anyport.find(in_=[20123], keep=0) == anyport.find(in_=[20123], keep=0) == 20123


def test_a_claim_ends_at_its_deadline() -> None:
    """--keep says when; until then the other number is chosen."""
    code = program("claims_for_a_while.py")
    done = python(code)
    assert done.returncode == 0, done.stderr


def test_no_quiet_range_is_left() -> None:
    """Still an answer, and stderr says which promise is gone; the library warns."""
    with private_network((1024, 65535)):
        said = command()
        assert 1024 <= int(said.stdout) <= 65535
        assert "leaves no quiet range" in said.stderr
        assert "hint: `sysctl -w net.ipv4.ip_local_port_range=" in said.stderr
        with pytest.warns(anyport.AnyportWarning, match="no quiet range"):
            anyport.find()
        assert len(anyport_numbers(300)) == 300


def anyport_numbers(count: int) -> set[int]:
    code = (
        "import warnings; warnings.simplefilter('ignore')\nimport anyport\nprint(*(anyport.find() for _ in range({})))"
    )
    return set(numbers(python(code.format(count)).stdout))


def test_an_ephemeral_number_is_said_to_be_one() -> None:
    """The kernel may give it away: no promise, and stderr says so; numbers outside are silent."""
    with private_network():
        for options in (["--ephemeral"], ["40000"], ["--in", "40000-40010"], ["--from", "40000"]):
            assert "lies in the ephemeral range 32768-60999" in command(*options).stderr
        assert command("20123").stderr == ""


def test_a_quiet_range_full_of_sockets_gives_way_to_the_kernels_choice() -> None:
    """All 99 quiet numbers are bound: a warning, and an ephemeral one."""
    from contextlib import ExitStack

    with private_network((10100, 65535)), ExitStack() as stack:
        for port in range(10001, 10100):
            stack.enter_context(listening("127.0.0.1", port))
        with pytest.warns(anyport.AnyportWarning, match="too few ports of the quiet range are unused"):
            assert anyport.find() >= 10100


def test_the_kernels_odd_numbers_run_out_before_ours() -> None:
    """In a range of four the kernel gives all four before any comes twice."""
    with private_network((40000, 40003)):
        first = [anyport.find(ephemeral=True) for _ in range(4)]
        assert sorted(first) == [40000, 40001, 40002, 40003]
        assert anyport.find(ephemeral=True) == first[0]


def test_a_long_block_out_of_a_full_ledger_is_quick() -> None:
    """Every number is claimed: the lock is not kept for seconds, or others would do without the ledger."""
    code = """
import anyport
anyport.find_many(19_000)
block = anyport.find_many(500, contiguous=True)
assert block == list(range(block[0], block[0] + 500))
"""
    from threading import Thread

    done: list[str] = []
    thread = Thread(target=lambda: done.append(python(code).stderr))
    thread.start()
    while thread.is_alive():
        assert command().stderr == ""
    thread.join()
    assert done == [""]


def test_library_warnings_point_to_the_caller() -> None:
    """The line that asked, not one of ours."""
    with private_network((1024, 65535)), pytest.warns(anyport.AnyportWarning) as caught:
        anyport.find()
    assert [warning.filename for warning in caught] == [__file__]


def test_several_at_once_are_different_all_or_none() -> None:
    """And a block is in a row."""
    ports = anyport.find_many(50)
    assert len(set(ports)) == 50
    with private_network(), listening("127.0.0.1", 20125):
        assert anyport.find_many(3, in_="20123-20130", contiguous=True, order="ascending") == [20126, 20127, 20128]
        with pytest.raises(anyport.NoUnusedPort, match="no 3 unused ports in a row among 20123-20127") as error:
            anyport.find_many(3, in_="20123-20127", contiguous=True)
        assert [refusal.port for refusal in error.value.refusals] == [20125]
        with pytest.raises(anyport.NoUnusedPort, match="no 5 unused ports"):
            anyport.find_many(5, in_="20123-20127")
        block = anyport.find_many(4, contiguous=True)
        assert block == list(range(block[0], block[0] + 4))
        assert block[0] in QUIET
        assert anyport.find_many(3, port=20124, contiguous=True, from_=20200) == [20200, 20201, 20202]
        assert anyport.find_many(2, port=20128, contiguous=True, only=True) == [20128, 20129]


def test_blocks_avoid_what_was_given_out() -> None:
    """Until nothing else is left; then the block given out longest ago."""
    assert anyport.find_many(2, in_="20123-20126", contiguous=True, order="ascending") == [20123, 20124]
    assert anyport.find_many(2, in_="20123-20126", contiguous=True, order="ascending") == [20125, 20126]
    assert anyport.find_many(2, in_="20123-20126", contiguous=True, order="ascending") == [20123, 20124]


def test_from_finds_the_first_gap_that_is_one() -> None:
    """Bound-only, other addresses, IPv6: everything that `ss -tln` and a one-address probe overlook."""
    from helpers.support import bound

    with private_network(), bound("127.0.0.1", 1080), listening("::1", 1081), listening("127.0.0.2", 1082):
        assert anyport.find(from_=1080) == 1083
        assert anyport.find(from_=1080) == 1084
        assert anyport.find(from_=1080, host="127.0.0.1", keep=0) == 1081


def test_from_passes_over_thousands() -> None:
    """With the help of the kernel's table where many are taken: the same answer, and all refusals are told."""
    from contextlib import ExitStack

    from helpers.support import bound

    with private_network(), ExitStack() as stack:
        for port in range(60_000, 60_900):
            stack.enter_context(bound("127.0.0.1", port) if port % 2 else listening("::1", port))
        assert anyport.find(from_=60_000, keep=0) == 60_900
        assert anyport.find(from_=60_000, keep=0, host="127.0.0.1") == 60_000
        assert anyport.find(from_=60_000, keep=0, tcp=True, udp=True) == 60_900
        assert anyport.find(from_=60_000, keep=0, udp=True) == 60_000
        with pytest.raises(anyport.NoUnusedPort) as error:
            anyport.find_many(5_000, from_=60_000)
        assert [refusal.port for refusal in error.value.refusals] == list(range(60_000, 60_900))
        stack.enter_context(bound("127.0.0.1", 65_000))
        assert max(refused_on_the_way_from(60_000)) < 60_900
        assert {refusal.occupants[0].state for refusal in error.value.refusals} == {"LISTEN", "BOUND"}


def refused_on_the_way_from(start: int) -> list[int]:
    import json

    facts = json.loads(command("--from", str(start), "--json", "--keep", "0").stdout)
    return [refusal["port"] for refusal in facts["refusals"]]


def test_bursts_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers claimed ahead and not used in one burst are used in the next, however long ago that was."""
    from anyport._find import reserved
    from anyport._ledger import keeper
    from anyport._ledger.record import claims_in

    now = 1_000.0
    monkeypatch.setattr(reserved, "clock_gettime", lambda _clock: now)
    reserved.forget()
    seen: list[int] = []
    for _ in range(25):
        seen += [anyport.find() for _ in range(15)]
        now += 0.11
    (book,) = keeper._ledgers.values()
    book.acquire()
    claimed = claims_in(book.records(), book.now, lambda _owner: True)
    book.release()
    assert len(seen) == len(set(seen)) == 375
    assert set(seen) <= claimed.keys()
    assert len(claimed) <= 375 + 31


def test_counts() -> None:
    """Every number at most once, whatever the way."""
    found = Counter(anyport.find_many(20) + anyport.find_many(20, ephemeral=True) + [anyport.find(from_=1080)])
    assert max(found.values()) == 1


def test_a_number_that_was_taken_meanwhile_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those claimed ahead; without the long way, which takes ten times as long."""
    from anyport._find import find, reserved

    monkeypatch.setattr(reserved, "clock_gettime", lambda _clock: 1_000.0)
    reserved.forget()
    while len(reserved._pool.ports) < 3:
        anyport.find()
    monkeypatch.setattr(find, "answer", None)
    *_, third, second, first = [port for port, _ in reserved._pool.ports]
    with bound("::", first), bound("127.0.0.1", second):
        assert anyport.find() == third


def fill_the_pool() -> list[int]:
    """Ask until several numbers are claimed ahead; those, the next one last."""
    from anyport._find import reserved

    while len(reserved._pool.ports) < 3:
        anyport.find()
    return [port for port, _ in reserved._pool.ports]


def test_a_thread_that_is_late_takes_nothing_that_another_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """One stops after it looked whether what was claimed ahead is still good; others ask meanwhile, and again later."""
    from anyport._find import reserved

    fill_the_pool()
    looks, goes_on, late = threading.Event(), threading.Event(), list[int]()

    def stop_once(_clock: int) -> float:
        now = time.clock_gettime(time.CLOCK_BOOTTIME) + looks.is_set()  # a second later, when they have to be renewed
        if threading.current_thread() is thread and not looks.is_set():
            looks.set()
            assert goes_on.wait(60)
        return now

    thread = threading.Thread(target=lambda: late.append(anyport.find()))
    monkeypatch.setattr(reserved, "clock_gettime", stop_once)
    thread.start()
    assert looks.wait(60)
    others = [anyport.find() for _ in range(20)]
    goes_on.set()
    thread.join()
    others += [anyport.find() for _ in range(20)]
    assert len({*others, *late}) == 41


def test_many_threads_claim_ahead_for_one() -> None:
    """Not each for itself: hardly more numbers are claimed than were given."""
    from anyport._ledger import keeper
    from anyport._ledger.record import claims_in

    found = list[int]()
    threads = [threading.Thread(target=lambda: found.extend(anyport.find() for _ in range(25))) for _ in range(40)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    (ledger,) = keeper._ledgers.values()
    ledger.acquire()
    claimed = claims_in(ledger.records(), ledger.now, lambda _owner: True)
    ledger.release()
    assert len(found) == len(set(found)) == 1000
    assert set(found) <= claimed.keys()
    assert len(claimed) <= 1000 + 64  # what one refill claims at most


def test_a_fork_that_python_is_not_told_of_begins_anew() -> None:
    """Made in C, as some libraries do: what the parent has claimed ahead is not the child's as well."""
    fill_the_pool()
    reading, writing = os.pipe()
    pid = ctypes.PyDLL(None).fork()
    if not pid:
        try:
            os.write(writing, b"%d %d %d" % tuple(anyport.find() for _ in range(3)))
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(pid, 0)
    with open(reading) as pipe:
        childs = [int(word) for word in pipe.read().split()]
    assert len(childs) == 3
    assert not set(childs) & {anyport.find() for _ in range(10)}
