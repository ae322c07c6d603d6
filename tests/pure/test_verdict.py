"""What is said of a port: the sentence, the verdict and the notes, for every case that there is."""

from typing import Any

import pytest

from anyport._linux.sysctl import PortSettings
from anyport._occupant import Occupant, Process, sentence
from anyport._who.verdict import Circumstances, notes, verb_of, verdict

NODE = Process(4711, "node", ("node", "server.js"))
HOLD = Process(50, "anyport-hold", ("/usr/bin/python3", "/usr/bin/anyport", "hold", "8080"))
RUN = Process(60, "anyport", ("/usr/bin/python3", "/opt/bin/anyport", "run", "--", "vi"))
SETTINGS = PortSettings(32768, 60999, frozenset([8080, 40000]))


def server(*processes: Process, address: str = "127.0.0.1", **more: Any) -> Occupant:
    found = Occupant("tcp", address, 8080, None, None, "LISTEN", 1000, 99, user="alice", processes=processes)
    return found._replace(**more)


def connection(state: str, *processes: Process, left: float | None = None) -> Occupant:
    inode = 98 if processes else 0
    return Occupant("tcp", "10.0.0.1", 8080, "10.0.0.2", 40000, state, 1000, inode, left, processes=processes)


BOUND = server(NODE, state="BOUND")
HIDDEN = Occupant("tcp", "::", 8080)
LEFT = connection("TIME_WAIT", left=41.4)


@pytest.mark.parametrize(
    ("occupants", "text"),
    [
        ([server(NODE)], "node (pid 4711, alice) listens on 127.0.0.1"),
        ([server(NODE, user=None)], "node (pid 4711, uid 1000) listens on 127.0.0.1"),
        ([server(NODE, user=None, uid=None)], "node (pid 4711) listens on 127.0.0.1"),
        ([server(NODE), server(NODE, address="::1")], "node (pid 4711, alice) listens on 127.0.0.1, ::1"),
        ([server(NODE, Process(4712, "node"))], "node (pids 4711, 4712, alice) listens on 127.0.0.1"),
        (
            [server(*(Process(pid, "w") for pid in range(1, 7)))],
            "w (pids 1, 2, 3, 4 and 2 more, alice) listens on 127.0.0.1",
        ),
        (
            [server(NODE), server(NODE), server(NODE)],
            "node (pid 4711, alice) listens on 127.0.0.1 with 3 sockets",
        ),
        (
            [server(NODE), server(Process(9, "other"))],
            "node (pid 4711, alice) listens on 127.0.0.1; other (pid 9, alice) listens on 127.0.0.1",
        ),
        (
            [server(Process(pid, "w")) for pid in range(1, 8)],
            "; ".join(f"w (pid {pid}, alice) listens on 127.0.0.1" for pid in range(1, 5)) + "; and 3 more",
        ),
        ([server(NODE, interface="lo")], "node (pid 4711, alice) listens on 127.0.0.1%lo"),
        (
            [server(NODE, interface="lo"), server(NODE, address="10.0.0.1")],
            "node (pid 4711, alice) listens on 127.0.0.1%lo, 10.0.0.1",
        ),
        (
            [server(NODE, interface="lo"), server(NODE, interface="eth0")],
            "node (pid 4711, alice) listens on 127.0.0.1%lo, 127.0.0.1%eth0",
        ),
        ([BOUND], "node (pid 4711, alice) is bound to 127.0.0.1 and does not listen"),
        ([BOUND._replace(protocol="udp")], "node (pid 4711, alice) is bound to 127.0.0.1"),
        ([server()], "a socket of alice, whose process can't be seen, listens on 127.0.0.1"),
        ([server(user=None, uid=None)], "a socket whose process can't be seen listens on 127.0.0.1"),
        ([HIDDEN], "a socket that can't be seen"),
        (
            [connection("ESTABLISHED", NODE)],
            "node (pid 4711, uid 1000) has a connection from 10.0.0.1 to 10.0.0.2:40000 (ESTABLISHED)",
        ),
        (
            [connection("ESTABLISHED")],
            "a connection from 10.0.0.1 to 10.0.0.2:40000 (ESTABLISHED) that no process has accepted yet",
        ),
        (
            [connection("SYN_SENT", NODE), connection("SYN_SENT", NODE)],
            "node (pid 4711, uid 1000) has a connection from 10.0.0.1 to 10.0.0.2:40000 (SYN_SENT); and 1 more like it",
        ),
        ([LEFT], "TIME_WAIT for 41 s more on 10.0.0.1, left over from a connection to 10.0.0.2:40000"),
        (
            [connection("TIME_WAIT", left=-1.0)],
            "TIME_WAIT for 0 s more on 10.0.0.1, left over from a connection to 10.0.0.2:40000",
        ),
        ([connection("FIN_WAIT1")], "FIN_WAIT1 on 10.0.0.1, left over from a connection to 10.0.0.2:40000"),
        (
            [connection("FIN_WAIT2", NODE)],
            "node (pid 4711, uid 1000) has a connection from 10.0.0.1 to 10.0.0.2:40000 (FIN_WAIT2)",
        ),
        (
            [server(Process(7, "\x1b[2J\x07\u202eexe"))],
            r"\x1b[2J\x07\u202eexe (pid 7, alice) listens on 127.0.0.1",
        ),
        ([server(Process(7, ""))], "? (pid 7, alice) listens on 127.0.0.1"),
        ([server(Process(7, "prüf 1"))], "prüf 1 (pid 7, alice) listens on 127.0.0.1"),
        ([], ""),
    ],
)
def test_the_sentence(occupants: list[Occupant], text: str) -> None:
    """Who, what, where, word by word."""
    assert sentence(occupants) == text


FIRST = "below net.ipv4.ip_unprivileged_port_start = 1024"


@pytest.mark.parametrize(
    ("occupants", "known", "text"),
    [
        ([server(NODE)], Circumstances(), "is in use: node (pid 4711, alice) listens on 127.0.0.1"),
        ([server(NODE)], Circumstances(13, FIRST), "is in use: node (pid 4711, alice) listens on 127.0.0.1"),
        ([connection("ESTABLISHED", NODE), server(NODE)], Circumstances(), f"is in use: {sentence([server(NODE)])}"),
        ([BOUND, server(NODE)], Circumstances(), f"is in use: {sentence([server(NODE)])}"),
        ([connection("SYN_SENT", NODE), BOUND], Circumstances(), f"is in use: {sentence([BOUND])}"),
        ([HIDDEN], Circumstances(98, "Address already in use"), "is in use: a socket that can't be seen"),
        (
            [LEFT, connection("ESTABLISHED", NODE)], Circumstances(),
            f"is in use: {sentence([connection('ESTABLISHED', NODE)])}",
        ),
        ([LEFT], Circumstances(), f"is in use: {sentence([LEFT])}"),
        ([], Circumstances(0), "is unused"),
        ([], Circumstances(None, "", shows_bound_only=True), "is unused"),
        ([], Circumstances(None), "has no socket that can be seen"),
        ([], Circumstances(13, FIRST, shows_bound_only=True), f"is unused, but can't be bound by you: {FIRST}"),
        ([], Circumstances(13, FIRST), f"has no socket that can be seen, but can't be bound by you: {FIRST}"),
    ],
)  # fmt: skip
def test_the_verdict(occupants: list[Occupant], known: Circumstances, text: str) -> None:
    """In use, unused, or not to be bound; servers come before what is bound only, and that before connections."""
    assert verdict(("tcp", 8080), occupants, known) == f"8080/tcp {text}"
    assert verdict(("udp", 8080), occupants, known) == f"8080/udp {text}"


SUDO = "only its user and root can see which process has it: `sudo anyport who 8080`"
KERNEL = "no process here has that socket: perhaps it is the kernel's own (NFS, WireGuard), or a container's"
CONTAINER = "it takes CAP_SYS_PTRACE, and no policy against it, to see the process: ask outside of the container"
REFUSED = "a bind of it is refused (EADDRINUSE)"
LEFT_OVER = "a server with SO_REUSEADDR, as nearly all set it, can bind it all the same"
NOT_EVEN = "not even a server with SO_REUSEADDR can bind it before that ends: what left it had not set the option"
NO_PROC = "/proc, which would show the process, is not mounted here, or is another pid namespace's"
OWN = "the process does not let its user look into it; root sees it: `sudo anyport who 8080`"


@pytest.mark.parametrize(
    ("occupants", "known", "expected"),
    [
        ([], Circumstances(), []),
        ([server(NODE)], Circumstances(), []),
        ([server(HOLD)], Circumstances(), ["held by `anyport hold` (pid 50)"]),
        ([server(NODE), server(RUN, state="BOUND")], Circumstances(), ["held by `anyport run` (pid 60)"]),
        ([server(HOLD), server(HOLD, address="::")], Circumstances(), ["held by `anyport hold` (pid 50)"]),
        ([server()], Circumstances(sees_all=False, uid=7), [SUDO]),
        ([server(), server()], Circumstances(sees_all=False, uid=7), [SUDO]),
        ([server()], Circumstances(uid=0, sees_all=True), [KERNEL]),
        ([server()], Circumstances(uid=7, sees_all=True), [KERNEL]),
        ([server()], Circumstances(uid=0, sees_all=False), [CONTAINER]),
        ([server()], Circumstances(uid=1000, sees_all=False), [OWN]),
        ([server()], Circumstances(uid=0, has_proc=False, sees_all=False), [NO_PROC]),
        ([server()], Circumstances(uid=7, has_proc=False, sees_all=False), [NO_PROC]),
        ([HIDDEN], Circumstances(98), [f"{REFUSED}; sockets that are bound and do not listen are not shown here"]),
        (
            [HIDDEN], Circumstances(98, shows_bound_only=True),
            [f"{REFUSED}, and no socket of this network namespace is shown to have it"],
        ),
        ([LEFT, connection("FIN_WAIT1")], Circumstances(reuse=0), [LEFT_OVER]),
        ([LEFT], Circumstances(reuse=98), [NOT_EVEN]),
        ([LEFT], Circumstances(reuse=13, refused=FIRST), [f"it can't be bound by you: {FIRST}"]),
        ([LEFT], Circumstances(), []),
        ([LEFT, server(NODE)], Circumstances(), []),
        ([LEFT, connection("ESTABLISHED")], Circumstances(), []),
        (
            [server(Process(5, "docker-proxy"))], Circumstances(),
            ["docker-proxy listens for a container: `docker ps --filter publish=8080` names it"],
        ),
        (
            [server(Process(5, "rootlessport"))], Circumstances(),
            ["rootlessport listens for a container: `podman ps --filter publish=8080` names it"],
        ),
        (
            [server(Process(5, "pasta.avx2"))], Circumstances(),
            ["pasta.avx2 listens for a container: `podman ps` names it"],
        ),
    ],
)  # fmt: skip
def test_notes_of_the_sockets(occupants: list[Occupant], known: Circumstances, expected: list[str]) -> None:
    """Who holds it for whom, and what can't be seen."""
    assert notes(("tcp", 8080), occupants, known) == expected


RESERVED = "in net.ipv4.ip_local_reserved_ports: the kernel gives it to nobody by itself"
EPHEMERAL = "inside the ephemeral range 32768-60999, so an outgoing connection may take it"
BROWSERS = "on the list of ports that browsers refuse"
GIVEN = "given out by anyport 12 s ago; other callers get another one for 48 s more"


@pytest.mark.parametrize(
    ("port", "known", "of_tcp", "of_udp"),
    [
        (8081, Circumstances(settings=SETTINGS), [], []),
        (8080, Circumstances(settings=SETTINGS), [RESERVED], [RESERVED]),
        (40000, Circumstances(settings=SETTINGS), [RESERVED], [RESERVED]),
        (32767, Circumstances(settings=SETTINGS), [], []),
        (32768, Circumstances(settings=SETTINGS), [EPHEMERAL], [EPHEMERAL]),
        (60999, Circumstances(settings=SETTINGS), [EPHEMERAL], [EPHEMERAL]),
        (61000, Circumstances(settings=SETTINGS), [], []),
        (6667, Circumstances(settings=SETTINGS), [BROWSERS], []),
        (8081, Circumstances(given=(12.4, 47.6)), [GIVEN], [GIVEN]),
        (8080, Circumstances(settings=SETTINGS, given=(12.4, 47.6)), [GIVEN, RESERVED], [GIVEN, RESERVED]),
    ],
)
def test_notes_of_the_number(port: int, known: Circumstances, of_tcp: list[str], of_udp: list[str]) -> None:
    """What the kernel, anyport itself and browsers have to do with it."""
    assert notes(("tcp", port), [], known) == of_tcp
    assert notes(("udp", port), [], known) == of_udp


def test_a_port_in_use_is_taken_by_no_outgoing_connection() -> None:
    """So nothing is said of the ephemeral range; of a reserved one it still is, after what is said of the sockets."""
    known = Circumstances(settings=SETTINGS)
    assert notes(("tcp", 40001), [server(NODE, port=40001)], known) == []
    assert notes(("tcp", 8080), [server(HOLD)], known) == ["held by `anyport hold` (pid 50)", RESERVED]


@pytest.mark.parametrize(
    ("command", "verb"),
    [
        ("/usr/bin/python3 /usr/bin/anyport hold 8080", "hold"),
        ("/usr/bin/python3 -m anyport run -- node", "run"),
        ("python3 -I -m anyport hold", "hold"),
        ("anyport hold", "hold"),
        ("anyport who 8080", ""),
        ("/usr/bin/python3 /usr/bin/anyport", ""),
        ("node hold", ""),
        ("node --anyport hold", ""),
        ("anyport find hold", ""),
        ("a b c d e f anyport hold", ""),
        ("", ""),
    ],
)
def test_a_verb_of_anyport_is_known_by_its_command_line(command: str, verb: str) -> None:
    """Wherever it lies, and whatever the interpreter was given; only at the beginning."""
    assert verb_of(Process(1, "python3", tuple(command.split()))) == verb


def test_the_runner_that_the_library_starts_is_known_too() -> None:
    """By the code that it is started with."""
    code = "import sys; sys.path.append(sys.argv.pop(1)); from anyport.__main__ import main; main()"
    assert verb_of(Process(1, "python3", ("python3", "-P", "-c", code, "/usr/lib", "run", "--", "vi"))) == "run"
    assert verb_of(Process(1, "python3", ("python3", "-c", "main()", "/usr/lib", "run"))) == ""
