"""Agreement: `anyport.who` shows what `ss` and `lsof` show, row by row, and what they miss, with real programs."""

import json
import os
import pwd
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytest

import anyport
from anyport._clock import pauses
from helpers.sandboxes import within
from helpers.support import NOBODY, needs, python_as
from helpers.support import anyport as command
from helpers.zoo import BOUND, NETCAT, NGINX, NO_INODE, STATES, Bound, Zoo, zoo

T = TypeVar("T")
Occupants = list[anyport.Occupant]
Json = dict[str, Any]


@pytest.fixture
def animals(tmp_path: Path) -> Iterator[Zoo]:
    with zoo(tmp_path) as found:
        yield found


class Row(NamedTuple):
    """What `ss` says of a socket, besides the time that is left; the uid is None where it says none."""

    protocol: str
    state: str
    address: str
    port: int
    interface: str | None
    remote: tuple[str, int] | None
    v6only: bool
    uid: int | None
    inode: int
    processes: frozenset[tuple[int, str]]


SS_STATES = {"ESTAB": "ESTABLISHED", "UNCONN": "BOUND", "FIN-WAIT-1": "FIN_WAIT1", "FIN-WAIT-2": "FIN_WAIT2"}


def ss() -> dict[Row, str]:
    """The rows of `ss`, which are all different, each with what else it says of the socket."""
    output = subprocess.run([needs("ss"), "-tuanpeH"], capture_output=True, text=True, check=True).stdout
    rows = [_of_ss(*line.split(maxsplit=6)) for line in output.splitlines()]
    assert len(rows) == len(dict(rows))
    return dict(rows)


def _of_ss(protocol: str, state: str, _recv: str, _send: str, local: str, peer: str, more: str) -> tuple[Row, str]:
    address, interface, port = _endpoint(local)
    remote_address, _, remote_port = _endpoint(peer)
    inode = int(re.findall(r"\bino:(\d+)", more)[0])
    uid = [int(text) for text in re.findall(r"\buid:(\d+)", more)]  # it says none for 0
    row = Row(
        protocol, SS_STATES.get(state, state.replace("-", "_")), address, int(port), interface,
        None if remote_port == "*" else (remote_address, int(remote_port)), "v6only:1" in more,
        uid[0] if uid else 0 if inode else None, inode,
        frozenset((int(pid), name) for name, pid in re.findall(r'\("([^"]*)",pid=(\d+)', more)),
    )  # fmt: skip
    return row, more


def _endpoint(text: str) -> tuple[str, str | None, str]:
    """Address, interface and port of `0.0.0.0%lo:80`, `[::]:80` (IPv6 only), or `*:80` (both)."""
    address, interface, port = re.fullmatch(r"(.+?)(?:%(.+))?:(\d+|\*)", text).groups()  # type: ignore[union-attr]
    return address.strip("[]").replace("*", "::"), interface, port


def as_ss(row: anyport.Occupant) -> Row:
    """A row of ours, as `ss` would tell it."""
    remote = None if row.remote_address is None or row.remote_port is None else (row.remote_address, row.remote_port)
    return Row(
        row.protocol, row.state, row.address, row.port, row.interface, remote, row.v6only,
        row.uid or (0 if row.inode else None), row.inode, frozenset((each.pid, each.name) for each in row.processes),
    )  # fmt: skip


def is_bound_only(row: "Row | anyport.Occupant") -> bool:
    """What only the kernel's newer versions tell, and newer versions of `ss`."""
    return (row.protocol, row.state) == ("tcp", "BOUND")


def steady(look: Callable[[], T]) -> tuple[T, dict[Row, str], dict[Row, str]]:
    """What this sees, and what `ss` shows before and after it: the same sockets."""
    for _ in pauses(60):
        before, seen, after = ss(), look(), ss()
        if before.keys() == after.keys():
            return seen, before, after
    pytest.fail("the sockets change all the time")


def assert_same(ours: "list[T]", theirs: "list[T]") -> None:
    """The same rows, and each as often."""
    mine, other = Counter(ours), Counter(theirs)
    assert (list((mine - other).elements()), list((other - mine).elements())) == ([], [])


def seconds(text: str) -> float:
    """Of `timer:(timewait,1min,0)`, `(...,59sec,0)`, `(...,5.250ms,0)`, which is how `ss` writes five seconds."""
    minutes, whole, thousandths = re.findall(r"\(timewait,(?:(\d+)min)?(?:(\d+)(?:sec|\.))?(?:(\d+)ms)?,", text)[0]
    return int(minutes or 0) * 60 + int(whole or 0) + int(thousandths or 0) / 1000


@pytest.mark.usefixtures("animals")
def test_every_row_is_that_of_ss() -> None:
    """50 sockets and more, of two users and in all states: ours are those of `ss`, and bound-only ones besides."""
    rows, shown, _ = steady(anyport.who)
    assert len(shown) >= 50
    assert {row.state for row in rows if row.protocol == "tcp"} == STATES
    assert {row.uid for row in rows if row.inode} >= {0, NOBODY}
    told = [row for row in rows if not is_bound_only(row) or any(map(is_bound_only, shown))]
    assert_same([as_ss(row) for row in told], list(shown))


@pytest.mark.usefixtures("animals")
def test_time_left_is_that_of_ss() -> None:
    """What is left over from connections says when it ends, at most a minute from now; nothing else does."""
    rows, before, after = steady(anyport.who)
    left = {as_ss(row): row.seconds_left for row in rows if row.seconds_left is not None}
    assert left.keys() == {row for row, more in after.items() if "(timewait," in more}
    assert left.keys() >= {as_ss(row) for row in rows if row.state == "TIME_WAIT"}
    assert len(left) == NO_INODE["TIME_WAIT"] + NO_INODE["FIN_WAIT2"]
    for row, found in left.items():
        assert 0 < found <= 60
        assert seconds(after[row]) <= found < seconds(before[row]) + 1


@pytest.mark.usefixtures("animals")
def test_one_port() -> None:
    """Asked for a port, a range, a protocol, or for no connections, the rows are those of all that are so."""

    def look() -> tuple[Occupants, Occupants, list[Occupants]]:
        rows = anyport.who(processes=False)
        ports = sorted({row.port for row in rows})
        return rows, anyport.who("7000-9999", processes=False), [anyport.who(port, processes=False) for port in ports]

    (rows, some, by_port), _, _ = steady(look)
    assert_same([as_ss(row) for found in by_port for row in found], [as_ss(row) for row in rows])
    assert_same([as_ss(row) for row in some], [as_ss(row) for row in rows if 7000 <= row.port < 10000])
    for one in ("tcp", "udp"):
        found = anyport.who(tcp=one == "tcp", udp=one == "udp", processes=False)
        assert_same([as_ss(row) for row in found], [as_ss(row) for row in rows if row.protocol == one])
    servers = anyport.who(connections=False, processes=False)
    assert_same([as_ss(row) for row in servers], [as_ss(row) for row in rows if row.state in ("LISTEN", "BOUND")])


def test_bound_only(animals: Zoo) -> None:
    """Each bound-only socket is listed, with all processes that share it; `ss` 6.1 shows none of them."""
    rows, shown, _ = steady(anyport.who)
    found = [row for row in rows if is_bound_only(row)]
    assert_same([Bound(row.address, row.port, row.v6only, row.interface) for row in found], BOUND)
    for row in found:
        assert {process.pid for process in row.processes} == animals.keepers
        assert (row.remote_address, row.remote_port) == (None, None)
    assert sum(map(is_bound_only, shown)) in (0, len(BOUND))


@pytest.mark.usefixtures("animals")
def test_users_and_commands() -> None:
    """The user is the name of the uid, the command what the process was started with."""
    for row in anyport.who():
        assert row.user == (None if row.uid is None else pwd.getpwuid(row.uid).pw_name)
        for process in row.processes:
            words = Path(f"/proc/{process.pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
            assert process.command == tuple(map(os.fsdecode, words))


class Shown(NamedTuple):
    """What `lsof` says of a socket that a process has."""

    pid: int
    inode: int
    family: str
    protocol: str
    name: str
    state: str


def lsof() -> set[Shown]:
    """The rows of `lsof`; a field is a line, the first letter says which."""
    shown = set()
    output = subprocess.run([needs("lsof"), "-wnPi", "-FpftdPnT"], capture_output=True, text=True, check=True).stdout
    for process in re.split(r"^p", output, flags=re.MULTILINE)[1:]:
        pid, *files = re.split(r"^f", process, flags=re.MULTILINE)
        for file in files:
            told = {line[:3] if line[0] == "T" else line[0]: line for line in file.splitlines()[1:]}
            state = told["TST"].removeprefix("TST=") if "TST" in told else ""
            shown.add(Shown(int(pid), int(told["d"][1:]), told["t"][1:], told["P"][1:], told["n"][1:], state))
    return shown


def as_lsof(row: anyport.Occupant) -> set[Shown]:
    """A row of ours, as `lsof` would tell it: mapped addresses as those of IPv4, and no state for UDP."""

    def written(address: str, port: int) -> str:
        plain = address.removeprefix("::ffff:")
        return f"{'*' if plain in ('0.0.0.0', '::') else f'[{plain}]' if ':' in plain else plain}:{port}"

    name = written(row.address, row.port)
    if row.remote_address is not None and row.remote_port is not None:
        name += f"->{written(row.remote_address, row.remote_port)}"
    family, state = "IPv6" if ":" in row.address else "IPv4", row.state if row.protocol == "tcp" else ""
    return {Shown(each.pid, row.inode, family, row.protocol.upper(), name, state) for each in row.processes}


@pytest.mark.usefixtures("animals")
def test_every_row_is_that_of_lsof() -> None:
    """Ours are those of `lsof`, and what it misses: sockets that no process has, and bound-only ones."""
    (rows, shown), _, _ = steady(lambda: (anyport.who(), lsof()))
    inodes = {row.inode for row in shown}
    missed = [row for row in rows if row.inode not in inodes]
    assert_same(missed, [row for row in rows if not row.inode or is_bound_only(row)])
    assert all(row.processes for row in rows if row.inode)
    assert Counter(row.state for row in missed) == NO_INODE | {"BOUND": len(BOUND)}
    assert {each for row in rows if row not in missed for each in as_lsof(row)} == shown


WHO = "import anyport, json\nprint(json.dumps([row._asdict() for row in anyport.who()]))\n"
WHAT_IS_SEEN = """
seen = []
for pid in sys.argv[1:]:
    try:
        seen += [int(pid)] if os.listdir(f"/proc/{pid}/fd") else []
    except OSError:
        pass
print(seen)
"""


def plain(text: str) -> "list[Json]":
    """The rows of another process, without the time that is left, which is another one by now."""
    return [{**row, "seconds_left": None} for row in json.loads(text)]


def lines(rows: "list[Json]") -> "list[str]":
    return [json.dumps(row) for row in rows]


@pytest.mark.usefixtures("animals")
def test_another_user_sees_the_same() -> None:
    """Without root the rows are the same, with their users; of the processes those are named that may be seen."""

    def look() -> tuple[Occupants, str, str]:
        rows = anyport.who()
        pids = {str(process.pid) for row in rows for process in row.processes}
        done = python_as(NOBODY, WHO + WHAT_IS_SEEN, *pids)
        assert not done.stderr
        found, seen_pids = done.stdout.splitlines()
        return rows, found, seen_pids

    (rows, found, seen_pids), _, _ = steady(look)
    seen = set(json.loads(seen_pids))
    expected = [
        row._replace(processes=tuple(each for each in row.processes if each.pid in seen))._asdict() for row in rows
    ]
    assert_same(lines(plain(found)), lines(plain(json.dumps(expected))))
    assert "root" in {row["user"] for row in expected if row["inode"] and not row["processes"]}
    assert any(row["processes"] for row in expected if row["port"] == NETCAT)


@pytest.mark.usefixtures("animals")
def test_without_netlink() -> None:
    """Where netlink is refused the rows are those of /proc/net, which has no bound-only sockets and no IPV6_V6ONLY."""
    wanted = within("no-netlink", sys.executable, "-W", "error", "-c", WHO)
    (rows, found), _, _ = steady(
        lambda: (anyport.who(), subprocess.run(wanted, capture_output=True, text=True, check=True).stdout)
    )
    expected = [row._replace(v6only=False, interface=None)._asdict() for row in rows if not is_bound_only(row)]
    assert_same(lines(plain(found)), lines(plain(json.dumps(expected))))


def test_siblings(animals: Zoo) -> None:
    """Sockets that share an address with SO_REUSEPORT are listed one by one, each with the processes that have it."""
    rows = [row for row in anyport.who(NGINX) if row.state == "LISTEN"]
    assert Counter(row.address for row in rows) == {"0.0.0.0": 2, "::": 2}
    assert len({row.inode for row in rows}) == 4
    for row in rows:
        assert {process.pid for process in row.processes} == animals.nginx
    done = command("who", str(NGINX), "--no-connections")
    assert (done.returncode, done.stderr) == (0, "")
    listed = re.findall(r"^tcp +LISTEN +(\S+) .* nginx ", done.stdout, flags=re.MULTILINE)
    assert Counter(listed) == {f"0.0.0.0:{NGINX}": 2, f"[::]:{NGINX}": 2}


@pytest.mark.usefixtures("animals")
def test_command() -> None:
    """`anyport who --json` has all of that, and `anyport who` a line for each."""

    def look() -> tuple[Occupants, str, str]:
        done = [command("who", *words) for words in ([], ["--json"])]
        assert [(each.returncode, each.stderr) for each in done] == [(0, "")] * 2
        return anyport.who(), done[0].stdout, done[1].stdout

    (rows, table, found), _, _ = steady(look)
    expected = [dict(row._asdict(), processes=[each._asdict() for each in row.processes]) for row in rows]
    assert_same(lines(plain(found)), lines(plain(json.dumps(expected))))
    listed = re.findall(r"^(tcp|udp) +(\S+) ", table, flags=re.MULTILINE)
    assert Counter(listed) == Counter((row.protocol, row.state) for row in rows)
