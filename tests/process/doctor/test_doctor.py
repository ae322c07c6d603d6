"""`anyport doctor`: what works here, how full the ephemeral range is, how the ledger is, and what should be changed."""

import contextlib
import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from anyport._doctor import features, rehearsal
from anyport._hold.door import open_door
from anyport._ledger import health
from anyport._linux import proc, seccomp, sock_diag
from anyport._linux.socket import own_netns_cookie
from helpers.running import assert_refused
from helpers.sandboxes import within
from helpers.support import (
    COMMAND,
    NO_VARIABLE,
    NOBODY,
    anyport,
    anyport_as,
    bound,
    command_as,
    free_uid,
    listening,
    needs,
    needs_root,
    no_folders,
    private_network,
    python_as,
    sysctl,
)

FEATURES = [
    "find", "hold tcp", "hold udp", "reuseport", "ipv6", "sock_diag", "bound-only", "processes", "pidfd_getfd",
    "seccomp", "supervised",
]  # fmt: skip


def examined(*words: str, status: int = 0) -> "dict[str, Any]":
    """What `anyport doctor --json` says, itself or as the words run it; nothing on standard error."""
    command = [*(words or (COMMAND,)), "doctor", "--json"]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (status, "")
    found: dict[str, Any] = json.loads(done.stdout)
    found["features"] = {each["name"]: each for each in found["features"]}
    return found


def failing(found: "dict[str, Any]") -> set[str]:
    """But whose processes are seen: a machine may hide its first one even from root."""
    return {name for name, each in found["features"].items() if not each["works"]} - {"processes"}


def messages(found: "dict[str, Any]") -> str:
    return "\n".join(f"{each['message']} -> {each['hint']}" for each in found["warnings"])


@contextlib.contextmanager
def time_wait(count: int) -> Iterator[None]:
    """So many ephemeral ports are left over from outgoing connections."""
    with listening("127.0.0.1", 20000) as server:
        for _ in range(count):
            with socket.create_connection(("127.0.0.1", 20000)) as client:
                connection = server.accept()[0]
                client.shutdown(socket.SHUT_RDWR)  # the side that closes first keeps the port
                connection.close()
        yield


def test_all_is_well_here() -> None:
    """Root, a current kernel, no sandbox: everything works, and nothing is to be changed."""
    needs_root()
    found = examined()
    assert list(found["features"]) == FEATURES
    assert failing(found) == set()
    assert found["hand_overs"] == ["supervised", "shared", "inherited", "released"]
    assert found["warnings"] == []
    assert found["system"]["kernel"] == os.uname().release
    assert (found["ports"]["low"], found["ports"]["high"]) == (32768, 60999)
    assert [each["ports"] for each in found["uses"]] == [0, 0]


def test_the_text_says_the_same() -> None:
    """Aligned, with one line for each thing, on standard output."""
    done = anyport("doctor")
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert [line for line in lines if line and not line.startswith(" ")] == [
        "system", "what works here, learnt by trying", "ports", "ledger", "nothing needs to be changed",
    ]  # fmt: skip
    assert {line[21] for line in lines if line.startswith("  ")} == {" "}
    assert " " not in {line[22] for line in lines if line.startswith("  ")}
    assert "  supervise programs  yes" in lines
    assert "  ephemeral range     32768-60999, 28232 ports" in lines


def test_looking_leaves_nothing_behind(ledger: Path) -> None:
    """No ledger, no claim, no socket and no process; a claim that is there stays as it is."""
    needs_root()
    assert examined()["ledger"] == {"path": str(ledger), "state": "none yet", "claims": 0}
    assert not ledger.exists()
    anyport("-n", "3")
    before = ledger.read_bytes()
    assert examined()["ledger"] == {"path": str(ledger), "state": "usable", "claims": 3}
    assert ledger.read_bytes() == before
    assert sock_diag.sockets("tcp") == sock_diag.sockets("udp") == []


def test_a_ledger_of_an_earlier_boot_is_not_repaired(ledger: Path) -> None:
    """The next call begins it anew: nothing that anybody has to do."""
    anyport()
    content = bytearray(ledger.read_bytes())
    content[4] ^= 1  # of the boot id
    ledger.write_bytes(content)
    found = examined()
    assert (found["ledger"]["state"], found["ledger"]["claims"], found["warnings"]) == ("stale", 0, [])
    assert ledger.read_bytes() == content
    assert "of an earlier boot, or broken; the next call begins it anew" in anyport("doctor").stdout


@pytest.mark.parametrize("name", ["text", "folder", "missing/ledger"])
def test_a_named_ledger_that_can_not_be_used(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`find` goes on without it, so that is a warning, which says what it says."""
    (tmp_path / "text").write_text("not a ledger at all")
    (tmp_path / "folder").mkdir()
    monkeypatch.setenv("ANYPORT_LEDGER", str(tmp_path / name))
    said = anyport().stderr.removeprefix("anyport: warning: ").partition(";")[0]
    found = examined()
    (warning,) = found["warnings"]
    assert found["ledger"]["state"] == "unusable"
    assert warning["message"].startswith(f"{said}; until then each process knows only")
    assert said.startswith(f"the ledger {str(tmp_path / name)!r} named in ANYPORT_LEDGER can't be used: ")


def test_a_ledger_that_somebody_keeps_locked(ledger: Path) -> None:
    """Waited for with a limit, and told who to look for."""
    anyport()
    with ledger.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        found = examined()
    assert f"the ledger {ledger} has been locked by another process for 1 s" in messages(found)
    assert f"`fuser -v {ledger}`" in messages(found)


def test_a_ledger_that_is_locked_for_a_moment(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As every call does: it is asked again, and nothing is remarked."""
    anyport()
    flock, refusals = fcntl.flock, [BlockingIOError(), BlockingIOError()]

    def late(fd: int, operation: int) -> None:
        if refusals:
            raise refusals.pop()
        flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    assert health.examine(own_netns_cookie()) == (str(ledger), "usable", 1, ())


def doctor_without_variable(uid: int) -> "dict[str, Any]":
    code = NO_VARIABLE + "from anyport.__main__ import run\nsys.exit(run(['doctor', '--json']))"
    done = python_as(uid, code)
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_usual_place_is_not_made() -> None:
    """It is only named."""
    uid = free_uid("doctor")
    with no_folders(uid) as folders:
        found = doctor_without_variable(uid)
        assert found["ledger"]["path"].startswith(f"{folders[0]}/ledger-1-")
        assert found["ledger"]["state"] == "none yet"
        assert not any(folder.exists() for folder in folders)


def test_a_better_place_is_not_made_either() -> None:
    """Where `find` would begin a new ledger although an old one lies in a later place."""
    uid = free_uid("later")
    with no_folders(uid) as (first, second):
        path = Path(doctor_without_variable(uid)["ledger"]["path"])
        second.mkdir(mode=0o700)
        (second / path.name).touch(mode=0o600)
        for each in (second, second / path.name):
            os.chown(each, uid, uid)
        found = doctor_without_variable(uid)
        assert (found["ledger"]["path"], found["ledger"]["state"]) == (str(path), "none yet")
        assert not first.exists()


@pytest.mark.parametrize("is_folder", [True, False])
def test_a_place_that_somebody_else_has_taken(is_folder: bool) -> None:
    """The next place serves; without one too, each process knows only its own claims."""
    uid = free_uid(f"doctor {is_folder}")
    with no_folders(uid) as (first, second):
        first.mkdir() if is_folder else first.touch()
        found = doctor_without_variable(uid)
        assert found["ledger"]["path"].startswith(f"{second}/")
        why = "it belongs to uid 0" if is_folder else "it is no folder"
        hint = f"have uid 0 or root remove it (`rm -r {first}`), or name a file"
        assert f"the ledger can't be kept in {first}: {why} -> {hint}" in messages(found)
        second.mkdir()
        found = doctor_without_variable(uid)
        assert found["ledger"]["state"] == "unusable"
        (warning,) = found["warnings"]
        assert "there is no place for the ledger" in warning["message"]


def test_ports_in_use_are_counted_by_state_and_program() -> None:
    """The second witness is the test that opened them."""
    needs_root()
    me = proc.comm(os.getpid())
    with private_network((40000, 40039)), contextlib.ExitStack() as stack, time_wait(4):
        for port in (40001, 40003, 40005):
            stack.enter_context(bound("::", port))
        stack.enter_context(listening("127.0.0.1", 40007))
        stack.enter_context(bound("127.0.0.1", 40001, socket.SOCK_DGRAM))
        stack.enter_context(listening("127.0.0.1", 30000))
        tcp, udp = examined()["uses"]
    assert (tcp["ports"], tcp["states"]) == (8, {"TIME_WAIT": 4, "BOUND": 3, "LISTEN": 1})
    assert (tcp["programs"], tcp["left_over"], tcp["unseen"], tcp["share"]) == ({me: 4}, 4, 0, 0.2)
    assert (udp["ports"], udp["states"], udp["programs"]) == (1, {"BOUND": 1}, {me: 1})


def test_reserved_ports_are_not_there_to_be_used() -> None:
    """The range is exhausted when the kernel has no port left to give: that is tried, and the warning names it."""
    needs_root()
    with private_network((40000, 40019)), contextlib.ExitStack() as stack:
        sysctl("net/ipv4/ip_local_reserved_ports", "8080,40000-40009,40019")
        for port in (40000, *range(40010, 40019)):
            stack.enter_context(bound("::", port))
        with pytest.raises(OSError, match="Address already in use"):
            bound("::", 0)
        found = examined()
        lines = anyport("doctor").stdout
    tcp, udp = found["uses"]
    assert (tcp["ports"], tcp["share"], tcp["states"]) == (9, 1.0, {"BOUND": 9})
    assert (udp["ports"], udp["share"]) == (0, 0.0)
    assert (found["ports"]["size"], found["ports"]["available"]) == (20, 9)
    assert messages(found).startswith("9 of 9 ephemeral TCP ports are in use, 9 of them BOUND")
    assert "  ephemeral range     40000-40019, 20 ports, 9 of them not reserved\n" in lines
    with private_network((40000, 40019)):
        sysctl("net/ipv4/ip_local_reserved_ports", "40000-40019")
        found = examined()
        assert [each["share"] for each in found["uses"]] == [0.0, 0.0]
        assert re.match(r"net\.ipv4\.ip_local_reserved_ports leaves no ports of the ephemeral range ", messages(found))
        with pytest.raises(OSError, match="Address already in use"):
            bound("::", 0)
        with pytest.raises(OSError, match="Cannot assign requested address"):
            socket.create_connection(("127.0.0.1", 1))


EVIL = """
import socket
from anyport._linux import libc
libc.call("prctl", 15, b"\\x1b[31mevil", 0, 0, 0)
servers = [socket.create_server(("127.0.0.1", port)) for port in range(40000, 40009)]
print("ready", flush=True)
input()
"""


def test_what_a_process_calls_itself_does_nothing_to_the_terminal() -> None:
    """Escapes are written as text, in the count and in the warning."""
    needs_root()
    with private_network((40000, 40009)):
        words = [sys.executable, "-c", EVIL]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            said = anyport("doctor").stdout
            process.communicate("end\n")
    assert "\x1b" not in said
    assert "by                \\x1b[31mevil 9\n" in said
    assert "9 by \\x1b[31mevil; once all are" in said


def test_a_range_full_of_leftovers_is_a_warning() -> None:
    """TIME_WAIT has a setting of its own; what is said is exit status 0, for `find` works."""
    needs_root()
    with private_network((40000, 40019)), time_wait(17):
        found = examined()
    assert "17 of 20 ephemeral TCP ports are in use, 17 of them TIME_WAIT; once" in messages(found)
    assert "`sysctl -w net.ipv4.tcp_tw_reuse=1`" in messages(found)


def test_without_a_port_it_says_so_and_fails() -> None:
    """As `find` does here: the same words, the same status; and what can't be tried then is not called broken."""
    needs_root()
    with private_network((40000, 40009), reserved="10000-29999"), contextlib.ExitStack() as stack:
        for port in range(40000, 40010):
            stack.enter_context(bound("::", port))
        refused = anyport()
        found = examined(status=1)
        text = anyport("doctor").stdout
    why = refused.stderr.splitlines()[0].removeprefix("anyport: ")
    assert refused.returncode == 1
    assert found["features"]["find"]["why"] == why
    assert found["warnings"][0]["message"] == f"no port can be found: {why}"
    assert "10 of 10 ephemeral TCP ports are in use, 10 of them BOUND, 10 by " in messages(found)
    assert failing(found) == set(FEATURES) - {"ipv6", "processes", "pidfd_getfd", "seccomp"}
    assert "  hold TCP ports      not tried: there is no port to try it with\n" in text
    assert "without those that are held" not in text


def test_no_socket_at_all() -> None:
    """A sandbox without AF_INET: that is what `find` needs."""
    needs_root()
    found = examined(*within("no-inet", COMMAND), status=1)
    assert "no port can be found: no socket can be opened: Operation not permitted (errno 1)" in messages(found)
    assert len(found["warnings"]) == 1
    assert found["hand_overs"] == []


def test_settings_that_take_a_promise_away() -> None:
    """One warning for each, with the command; a command that is followed ends the warning."""
    needs_root()
    with private_network((1024, 65535)):
        sysctl("net/ipv4/ip_autobind_reuse", "1")
        found = examined()
        assert len(found["warnings"]) == 2
        for each in found["warnings"]:
            sysctl_command = each["hint"].strip("`").split(" ", 2)
            assert sysctl_command[:2] == ["sysctl", "-w"]
            name, _, value = sysctl_command[2].partition("=")
            sysctl(name.replace(".", "/"), value.strip("'"))
        assert examined()["warnings"] == []


@pytest.mark.parametrize("limit", range(5, 12))
def test_hardly_any_descriptors(limit: int) -> None:
    """Whatever can't be looked at is said in words."""
    done = subprocess.run(
        ["sh", "-c", f"ulimit -n {limit}; exec {COMMAND} doctor"], capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stdout + done.stderr
    assert done.returncode == (1 if done.stderr or "warning: no port can be found: " in done.stdout else 0)
    assert f"a process may have {limit} descriptors (RLIMIT_NOFILE)" in done.stdout or "RLIMIT_NOFILE" in done.stderr
    refused = [line for line in done.stdout.splitlines() if " no: " in line]
    words = "this needs more descriptors than are left|the ledger can't be opened|the question can't be answered"
    cause = rf"no: ({words}): .*Too many open files \(errno 24\)$"
    assert all(re.search(cause, line) for line in refused), refused
    assert refused or limit > 6


SANDBOXES = {
    "docker": ({"pidfd_getfd", "supervised"}, "docker run --cap-add SYS_PTRACE"),
    "no-seccomp": ({"seccomp", "supervised"}, "docker run --security-opt seccomp=unconfined"),
    "nested": ({"seccomp", "supervised"}, "the outermost can hold all the ports"),
}


def sandboxed(mode: str) -> list[str]:
    return [COMMAND, "run", "--", COMMAND] if mode == "nested" else within(mode, COMMAND)


@pytest.mark.parametrize("mode", SANDBOXES)
def test_why_programs_are_not_supervised_here(mode: str) -> None:
    """The cause in the words that `anyport run` has for it, and the way out."""
    needs_root()
    failed, hint = SANDBOXES[mode]
    found = examined(*sandboxed(mode))
    words = [*sandboxed(mode), "run", "--", needs("true")]
    note = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True).stderr
    assert failing(found) == failed
    assert note == f"anyport: note: shared, not supervised: {found['features']['supervised']['why']}\n"
    assert hint in messages(found)
    assert len(found["warnings"]) == 1
    assert found["hand_overs"] == ["shared", "inherited", "released"]


@pytest.mark.parametrize("mode", ["docker-with-ptrace", "no-pidfd-thread"])
def test_where_they_are_there_is_no_warning(mode: str) -> None:
    """A container that was given SYS_PTRACE, and a kernel before 6.9."""
    needs_root()
    found = examined(*within(mode, COMMAND))
    assert (failing(found), found["warnings"]) == (set(), [])


def test_supervision_is_tried_to_the_end() -> None:
    """A sandbox may allow all calls but the last one that it takes."""
    needs_root()
    found = examined(*within("no-vm-readv", COMMAND))
    assert failing(found) == {"supervised"}
    assert "can't supervise programs: process_vm_readv: Operation not permitted; so it shares" in messages(found)


def test_a_sandbox_that_kills_who_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a child that is killed."""
    monkeypatch.setattr(seccomp, "listen_to", lambda _names: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(OSError, match="a child that tried it was killed by signal 9"):
        rehearsal.install_filter()


def test_a_child_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not waited for without end."""
    monkeypatch.setattr(rehearsal, "_PATIENCE", 1)
    monkeypatch.setattr(seccomp, "listen_to", lambda _names: signal.pause())
    with pytest.raises(OSError, match=f"was killed by signal {signal.SIGALRM:d}"):
        rehearsal.install_filter()


def test_a_door_that_does_not_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """On another kernel than Linux, say: a program can't have what is held."""
    monkeypatch.setattr(features, "open_door", lambda _sockets: None)
    for protocol in ("tcp", "udp"):
        assert features.features()[f"hold {protocol}"][1:3] == (False, "Address already in use (errno 98)")


def test_a_door_that_does_not_shut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then nothing is held at all."""
    find = features._find

    def leaky(*, udp: bool = False) -> Any:
        found = find(udp=udp)
        open_door(features._sockets_of(found))
        return found

    monkeypatch.setattr(features, "_find", leaky)
    for protocol in ("tcp", "udp"):
        why = "a program with SO_REUSEADDR gets past a hold that is shut"
        assert features.features()[f"hold {protocol}"][1:3] == (False, why)


def test_sockets_that_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before Linux 6.8 it is those that are bound and do not listen."""
    sockets = sock_diag.sockets

    def before_6_8(*words: Any) -> Any:
        return [row for row in sockets(*words) if row.state != "BOUND"]

    monkeypatch.setattr(sock_diag, "sockets", before_6_8)
    found = features.features()
    assert found["sock_diag"].works
    assert found["bound-only"][1:3] == (False, "a socket that is bound and does not listen is not shown")


def test_netlink_refused() -> None:
    """Sockets are then counted from /proc, which does not show what is held: that is said where they are counted."""
    needs_root()
    with bound("::", 40001), listening("127.0.0.1", 40003):
        found = examined(*within("no-netlink", COMMAND))
        text = subprocess.run(within("no-netlink", COMMAND, "doctor"), capture_output=True, text=True, check=True)
    assert failing(found) == {"sock_diag", "bound-only"}
    assert found["uses"][0]["states"] == {"LISTEN": 1}
    assert "names that in `RestrictAddressFamilies=` too" in messages(found)
    assert len(found["warnings"]) == 1
    assert "1 of 28232 ephemeral ports, 0.0 %, without those that are held: 1 LISTEN\n" in text.stdout
    assert "  UDP in use          0 of 28232 ephemeral ports, 0.0 %\n" in text.stdout


def test_an_ordinary_user() -> None:
    """All works for him, supervision too; that he does not see others' processes is no fault of the machine."""
    needs_root()
    with listening("127.0.0.1", 40001):
        done = anyport_as(NOBODY, "doctor", env={**os.environ, "ANYPORT_LEDGER": ""})
    assert (done.returncode, done.stderr) == (0, "")
    assert "  supervise programs  yes\n" in done.stdout
    assert "  see processes       only those of this user: root sees all\n" in done.stdout
    assert "  user                nobody (uid 65534)\n" in done.stdout
    assert "ephemeral ports, 0.0 %: 1 LISTEN\n    by                process unseen 1\n" in done.stdout
    assert done.stdout.endswith("\nnothing needs to be changed\n")


def test_proc_mounted_with_hidepid() -> None:
    """An ordinary user sees his own processes only, and is told why."""
    needs_root()
    mount = f'{needs("mount")} -t proc -o hidepid=2 proc /proc && exec "$@"'
    words = [needs("unshare"), "-m", "sh", "-c", mount, "sh", *command_as(free_uid("hidden")), "doctor"]
    environ = {**os.environ, "ANYPORT_LEDGER": ""}
    with listening("127.0.0.1", 40001):
        done = subprocess.run(words, capture_output=True, text=True, check=False, env=environ)
    assert (done.returncode, done.stderr) == (0, "")
    assert "  see processes       only those of this user: /proc is mounted with hidepid\n" in done.stdout
    assert "  supervise programs  yes\n" in done.stdout
    assert "process unseen 1\n" in done.stdout
    assert done.stdout.endswith("\nnothing needs to be changed\n")


def test_a_new_network_namespace() -> None:
    """`unshare -n`: lo is down, so there is no ::1; all else works, and nobody has to change anything."""
    needs_root()
    found = examined(needs("unshare"), "-n", COMMAND)
    assert failing(found) == {"ipv6"}
    assert "Cannot assign requested address" in found["features"]["ipv6"]["why"]
    assert found["warnings"] == []


def test_no_ipv6_is_a_fact() -> None:
    """Not a warning: everything else works without."""
    needs_root()
    with private_network(ipv6=False):
        found = examined()
    assert (failing(found), found["warnings"]) == ({"ipv6"}, [])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["8080"], "doctor takes no argument: 8080"),
        (["all", "--json"], "doctor takes no argument: all"),
        (["--jsn"], "unrecognized arguments: --jsn"),
        (["--json=1"], "argument --json: ignored explicit argument '1'"),
    ],
)
def test_bad_input_is_one_line_and_a_hint(words: list[str], message: str) -> None:
    """Before anything is tried."""
    assert_refused(anyport("doctor", *words), 2, message)


def test_help_is_there() -> None:
    """With its exit statuses."""
    shown = anyport("doctor", "--help")
    assert shown.returncode == 0
    assert "usage: anyport doctor [--json]" in shown.stdout
    assert "1 it does not, with the reason" in shown.stdout


def test_closed_streams_and_ignored_children() -> None:
    """What the caller has made of them has no part in what works."""
    shell = f"trap '' CHLD; exec {COMMAND} doctor <&- 2>&-"  # of which dash makes nothing
    done = subprocess.run([needs("bash"), "-c", shell], stdout=subprocess.PIPE, check=True, text=True)
    assert done.stdout.endswith("nothing needs to be changed\n")


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_who_reads_it_may_stop(words: list[str]) -> None:
    """As `head` does: exit status 1 would say that no port can be found."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([COMMAND, "doctor", *words], stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def test_nobody_can_read_it() -> None:
    """Full standard output is an error of one line."""
    done = subprocess.run(
        ["sh", "-c", f"{COMMAND} doctor >/dev/full"], stderr=subprocess.PIPE, text=True, check=False
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("anyport: can't write to standard output: ")
