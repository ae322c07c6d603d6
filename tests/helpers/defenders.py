"""The ports under attack, one for each cell of the promise table, and what came of it."""

import socket
import subprocess
import sys
import time
import warnings
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyport
from helpers.attackers import (
    ADDRESSES,
    BOTH,
    CHOOSERS,
    KINDS,
    MINIMUM,
    OPTIONS,
    OTHER,
    PLAIN,
    REUSEADDR,
    REUSEPORT,
    SAME,
    SWEEPS,
    Target,
    attack,
    let_run,
)
from helpers.support import COMMAND, bound, private_network, program
from helpers.support import anyport as command

if TYPE_CHECKING:
    from collections.abc import Sequence

SECONDS = 10
SOME = 0.3  # seconds of a processor, in which an attacker by name has tried everything more than ten times
SPARES = "45000-45029"  # above all others: those who choose in ascending order try all others first
SERVER = program("serves_either.py")
# A program under supervision, raw and without options, that has not bound its port yet, or serves on one address only.
SUPERVISED = program("binds_late_or_now.py")
WHERE: dict[str, Any] = {"quiet": {}, "ephemeral": {"ephemeral": True}}
# One that was let in with both options lets others of its user in who set SO_REUSEPORT.  So no cell is attacked by both
# kinds; but what the kernel may give to one with both, an open UDP hold in the ephemeral range, is for those only.
NO_BOTH, NO_REUSEPORT = (PLAIN, REUSEADDR, REUSEPORT), (PLAIN, REUSEADDR, BOTH)
OPEN = {
    f"{whose} {where} {protocol}": NO_REUSEPORT if (where, protocol) == ("ephemeral", "udp") else NO_BOTH
    for whose in ("open", "command") for where in WHERE for protocol in KINDS
} | {"open to both tcp": NO_REUSEPORT, "command to both tcp": NO_REUSEPORT}  # fmt: skip
SHUT = [
    f"{what} {protocol}"
    for what in (
        "exclusive quiet",
        "exclusive ephemeral",
        "was open",
        "served",
        "served once",
        "supervised waiting",
        "supervised serving",
    )
    for protocol in KINDS
]
FOUND = [f"found {where} {protocol}" for where in WHERE for protocol in KINDS]
CLOSED = [f"bound and closed {protocol}" for protocol in KINDS]


class Defenders:
    """One port for each cell, held or not, until the end."""

    def __init__(self, stack: ExitStack) -> None:
        self.targets: dict[str, Target] = {}
        self.stack = stack
        self.doors: list[anyport.Hold] = []
        self.closed = [bound("", 0, kind) for kind in KINDS.values()]
        for cell, sock in zip(CLOSED, self.closed, strict=True):
            self.add(cell, sock.getsockname()[1])
        for protocol in KINDS:
            self.defend(protocol)

    def add(self, cell: str, port: int) -> None:
        options = NO_BOTH if cell.startswith("opens") else OPEN.get(cell, tuple(OPTIONS))
        self.targets[cell] = Target(port, cell.rsplit(maxsplit=1)[-1], options)

    def defend(self, protocol: str) -> None:
        udp = protocol == "udp"
        for where, words in WHERE.items():
            flags = [f"--{protocol}", *(f"--{word}" for word in words)]
            self.add(f"found {where} {protocol}", anyport.find(udp=udp, keep="10m", **words))
            self.add(f"open {where} {protocol}", self.hold(udp=udp, **words).port)
            self.add(f"command {where} {protocol}", self.held_by_command(*flags))
            self.add(f"exclusive {where} {protocol}", self.hold(udp=udp, exclusive=True, **words).port)
        if not udp:
            self.add("open to both tcp", self.hold(ephemeral=True).port)
            self.add("command to both tcp", self.held_by_command("--ephemeral"))
        for state in ("waiting", "serving"):
            self.add(f"supervised {state} {protocol}", self.supervised(protocol, state))
        self.doors.append(self.hold(udp=udp, exclusive=True))
        self.add(f"opens {protocol}", self.doors[-1].port)
        was_open = self.hold(udp=udp, exclusive=True, ephemeral=True)
        with was_open.handing_over(), bound("127.0.0.1", was_open.port, KINDS[protocol], reuse=True):
            pass
        self.add(f"was open {protocol}", was_open.port)
        self.add(f"served {protocol}", self.served(protocol)[0])
        port, server = self.served(protocol)
        server.kill()
        server.wait()
        assert udp or is_in_time_wait(port)
        self.add(f"served once {protocol}", port)

    def hold(self, **words: Any) -> anyport.Hold:
        return self.stack.enter_context(anyport.hold(**words))

    def held_by_command(self, *flags: str) -> int:
        done = command("hold", *flags)
        assert done.returncode == 0, done.stderr
        self.stack.callback(release, done.stdout.strip())
        return int(done.stdout)

    def supervised(self, protocol: str, state: str) -> int:
        args = ["--hand-over", "supervised", f"--{protocol}", "--ephemeral", "--", sys.executable, "-c", SUPERVISED]
        runner = subprocess.Popen(
            [COMMAND, "run", *args, protocol, state], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.stack.callback(runner.communicate)  # which ends the program's standard input
        assert runner.stdout
        return int(runner.stdout.readline())

    def served(self, protocol: str) -> tuple[int, "subprocess.Popen[str]"]:
        """A server behind the door of an exclusive hold, which is shut again; a client has been there."""
        held = self.hold(udp=protocol == "udp", exclusive=True, ephemeral=True)
        with held.handing_over():
            args = [sys.executable, "-c", SERVER, protocol, str(held.port)]
            server = self.stack.enter_context(subprocess.Popen(args, stdout=subprocess.PIPE, text=True))
            self.stack.callback(server.kill)
            assert server.stdout
            assert server.stdout.readline() == "up\n"
        if protocol == "tcp":
            with socket.create_connection(("127.0.0.1", held.port)) as client:
                assert client.recv(1) == b""
        return held.port, server


def release(port: str) -> None:
    done = command("hold", "--release", port)
    assert done.returncode == 0, done.stderr


def is_in_time_wait(port: int) -> bool:
    lines = [line.split() for line in Path("/proc/thread-self/net/tcp").read_text().splitlines()]
    return any(line[1].endswith(f":{port:04X}") and line[3] == "06" for line in lines)


def attack_all() -> dict[str, Any]:
    with ExitStack() as stack:
        stack.enter_context(private_network((40000, 40199)))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore", anyport.AnyportWarning)  # that the kernel may give away what is not held
        defenders = Defenders(stack)
        opened = []

        def open_doors(attackers: "Sequence[subprocess.Popen[str]]") -> None:
            by_name = attackers[:4]
            let_run(by_name, SOME)
            with ExitStack() as doors:
                opened.append(time.monotonic())
                for held in defenders.doors:
                    doors.enter_context(held.handing_over())
                let_run(by_name, SOME)
            opened.append(time.monotonic())

        for sock in defenders.closed:
            sock.close()
        kinds = ("name", "storm", "choose")
        reports = attack(
            defenders.targets, seconds=SECONDS, attempts=MINIMUM, spares=SPARES, what=kinds, meanwhile=open_doors
        )
        # Among all those it is chance whether somebody meets an unheld port while nobody else has it.  So once more,
        # each kind by itself.
        unheld = {cell: defenders.targets[cell] for cell in (*CLOSED, *FOUND)}
        alone = attack(unheld, attempts=MINIMUM) + attack({}, attempts=2 * MINIMUM, what=("storm",))
    return {"targets": defenders.targets, "opened": opened, "reports": reports, "alone": alone}


class Outcome:
    """Who got what; each answer only if there were enough attempts.  `alone` says that each kind attacked by itself."""

    def __init__(self, found: dict[str, Any], *, alone: bool = False) -> None:
        self.targets = {cell: Target(*each) for cell, each in found["targets"].items()}
        self.opened: tuple[float, float] = tuple(found["opened"])
        self.reports: list[dict[str, Any]] = found["alone" if alone else "reports"]
        assert alone or min(each["end"] - each["begin"] for each in self.reports) >= SECONDS

    def of(self, what: str, **having: object) -> list[dict[str, Any]]:
        return [each for each in self.reports if {"what": what, **having}.items() <= each.items()]

    def taken(self, cell: str, *options: str) -> dict[tuple[int, str, str], list[float]]:
        """By user, option and address: how often bound, how often listening, when first and when last."""
        found: dict[tuple[int, str, str], list[float]] = {}
        assert set(options) <= set(self.targets[cell].options)
        assert sum(each["rounds"] for each in self.of("name")) * len(ADDRESSES) * len(options) >= MINIMUM
        for uid in (SAME, OTHER):
            mine = self.of("name", uid=uid)
            for each in mine:
                for key, (times, heard, first, last) in each["taken"].items():
                    name, option, address = key.split("/")
                    if name == cell and option in options:
                        old = found.get((uid, option, address), [0, 0, first, last])
                        found[uid, option, address] = [
                            old[0] + times, old[1] + heard, min(old[2], first), max(old[3], last),
                        ]  # fmt: skip
        return found

    def given(self, cell: str) -> Counter[tuple[str, str]]:
        """By system call and option: how often the kernel gave the number of this cell away."""
        port, protocol, _ = self.targets[cell]
        found: Counter[tuple[str, str]] = Counter()
        storms = self.of("storm", protocol=protocol)
        assert {each["uid"] for each in storms} == {SAME, OTHER}
        assert sum(each["rounds"] // 2 for each in storms) * SWEEPS * len(OPTIONS) * len(ADDRESSES) >= MINIMUM
        for key, count in (item for each in storms for item in each["given"].items()):
            number, what, option = key.split("/")
            if int(number) == port:
                found[what, option] += count
        return found

    def chosen(self, cell: str, how: str) -> int:
        """How often other callers who chose were given the number of this cell."""
        port, protocol, _ = self.targets[cell]
        choosers = self.of("choose")
        assert len(choosers) == CHOOSERS
        assert sum(each["rounds"] for each in choosers) >= MINIMUM
        return sum(each["chosen"].get(f"{port}/{how}/{protocol}", 0) for each in choosers)


def everybody(*options: str) -> set[tuple[int, str, str]]:
    """All who attack by name with these options."""
    return {(uid, option, address) for uid in (SAME, OTHER) for option in options for address in ADDRESSES}
