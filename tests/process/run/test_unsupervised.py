"""`anyport run` where the program can't be supervised, or one of its processes: what is done instead, and said."""

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from anyport._ledger import place
from anyport._linux import sysctl
from anyport._supervise import enter
from helpers.running import assert_refused, content_of, end, run, script
from helpers.sandboxes import run_within, within
from helpers.support import COMMAND, NOBODY, anyport_as, bound, command_as, needs, needs_root, program, unavailable

NOTE = "anyport: note: shared, not supervised: "
FORBIDDEN = "(errno 1): a container or sandbox seems to forbid it"
MISSING = "this kernel or machine has no seccomp user notification"
# Where supervision can't be, and what is said of it.
CAUSES = {
    "docker": FORBIDDEN,
    "no-getfd": FORBIDDEN,
    "no-getfd-enosys": "this kernel has no pidfd_getfd (Linux 5.6+)",
    "no-seccomp": FORBIDDEN,
    "no-seccomp-enosys": MISSING,
    "old-kernel": "this kernel has no seccomp user notification with a listener (Linux 5.9+)",
    "nested": "it is under another supervisor already (seccomp), such as that of another `anyport run`",
}
PRIVILEGES = "has privileges of its own (set-uid, file capabilities), which it would lose"


def sandboxed(mode: str, *words: str) -> list[str]:
    """The words of an `anyport run` in a sandbox, or below another one."""
    command = [COMMAND, "run", *words]
    return [COMMAND, "run", "--", *command] if mode == "nested" else within(mode, *command)


def start(mode: str, *words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        sandboxed(mode, *words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def lets_in(port: int) -> bool:
    """Whether the hold's door is open: a stranger may bind where the server does not listen."""
    try:
        bound("127.0.0.2", port, reuse=True).close()
    except OSError as error:
        assert error.errno == errno.EADDRINUSE
        return False
    return True


@pytest.fixture
def words(server: list[str], tmp_path: Path) -> list[str]:
    """A port file, and a server with SO_REUSEADDR that takes its number from the innermost runner's variable."""
    command = [needs("sh"), "-c", 'exec "$@" "$PORT" reuse', "sh", *server[:-1]]
    return ["--port-file", str(tmp_path / "port"), "--", *command]


# What a system call comes to: each argument is `number,argument,...`.
CALL = """
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
for words in sys.argv[1:]:
    failed = libc.syscall(*map(int, words.split(","))) < 0
    print(ctypes.get_errno() if failed else 0)
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are those of x86-64")
@pytest.mark.parametrize(
    ("mode", "calls"),
    [
        ("no-getfd", {"438,-1,0,0": errno.EPERM, "39": 0}),
        ("no-getfd-enosys", {"438,-1,0,0": errno.ENOSYS}),
        ("no-seccomp", {"317,9,0,0": errno.EPERM}),
        ("no-seccomp-enosys", {"317,9,0,0": errno.ENOSYS}),
        ("old-kernel", {"317,1,0,0": errno.EFAULT, "317,1,8,0": errno.EINVAL, "317,1,12,0": errno.EINVAL}),
        ("no-pidfd-thread", {"434,1,0": 0, "434,1,128": errno.EINVAL}),
        ("docker-with-ptrace", {"438,-1,0,0": errno.EBADF, "272,0": errno.EPERM}),
        (
            "docker",
            {
                "39": 0, "438,-1,0,0": errno.EPERM, "272,0": errno.EPERM, "425,1,0": errno.EPERM, "434,1,0": 0,
                "310,0,0,0,0,0,0": 0, "435,0,0": errno.ENOSYS, "467": errno.ENOSYS,
                "41,1,1,0": 0, "41,16,3,0": 0, "41,38,5,0": errno.EPERM, "41,40,1,0": errno.EPERM,
                "56,268435473,0,0,0,0": errno.EPERM, "135,4294967295": 0, "135,262144": errno.EPERM,
                "317,1,8,0": errno.EFAULT,
            },
        ),
    ],
)  # fmt: skip
def test_a_sandbox_refuses_what_it_should(mode: str, calls: dict[str, int]) -> None:
    """And lets through what it should."""
    done = subprocess.run(within(mode, sys.executable, "-c", CALL, *calls), capture_output=True, text=True, check=True)
    assert dict(zip(calls, map(int, done.stdout.split()), strict=True)) == calls


@pytest.mark.parametrize("mode", CAUSES)
def test_auto_becomes_shared_and_says_why_in_one_line(mode: str, words: list[str], tmp_path: Path) -> None:
    """The server serves, the door is open, and the note is all there is on standard error."""
    process = start(mode, *words)
    port = int(content_of(tmp_path / "port", process))
    assert lets_in(port)
    (line,) = end(process).splitlines()
    assert line.startswith(NOTE)
    assert CAUSES[mode] in line


@pytest.mark.parametrize("mode", ["docker-with-ptrace", "no-pidfd-thread"])
def test_where_it_can_be_nothing_is_said(mode: str, words: list[str], tmp_path: Path) -> None:
    """A container that was given SYS_PTRACE, and a kernel before 6.9: supervised, the door shut."""
    process = start(mode, *words)
    port = int(content_of(tmp_path / "port", process))
    assert not lets_in(port)
    assert end(process) == ""


IN_A_THREAD = program("binds_in_a_thread.py")


def test_a_thread_is_supervised_before_linux_6_9(tmp_path: Path) -> None:
    """By way of its process, for there is no pidfd of a thread."""
    done = run_within("no-pidfd-thread", "--", *script(tmp_path, IN_A_THREAD), "{port}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "listens\n", "")


@pytest.mark.parametrize("option", [("--hand-over", "supervised"), ("--map", "8080")], ids=["supervised", "map"])
@pytest.mark.parametrize("mode", ["docker", "nested"])  # refused by pidfd_getfd, and by seccomp
def test_what_needs_supervision_is_an_error_instead(mode: str, option: tuple[str, ...], tmp_path: Path) -> None:
    """125, the cause and a way out; the program is not started, not even for a moment."""
    started = tmp_path / "started"
    words = sandboxed(mode, *option, "--", needs("touch"), str(started))
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    assert_refused(done, 125, "the program can't be supervised: ")
    assert CAUSES[mode] in done.stderr
    assert option[0] in done.stderr.splitlines()[1]
    assert not started.exists()


def test_an_error_before_the_start_leaves_the_port_unused() -> None:
    """The hold ends with the runner, in spite of the child that was made for the program."""
    words = ["--port", "20123", "--only", "--hand-over", "supervised", "--", "true"]
    done = subprocess.run(sandboxed("no-seccomp", *words), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 125
    bound("127.0.0.1", 20123).close()


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that every user may look into, and whose set-uid programs count."""
    with tempfile.TemporaryDirectory() as name:
        if os.statvfs(name).f_flag & os.ST_NOSUID:
            unavailable(f"set-uid programs don't count in {name} (nosuid)")
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def user(folder: Path) -> dict[str, str]:
    """The environment of an ordinary user, who has a ledger of his own."""
    needs_root()
    own = folder / "own"
    own.mkdir()
    os.chown(own, NOBODY, NOBODY)
    return {**os.environ, place.VARIABLE: str(own / "ledger")}


def as_user(user: dict[str, str], *words: str) -> "subprocess.CompletedProcess[str]":
    return anyport_as(NOBODY, "run", *words, env=user)


def fields(status: str) -> dict[str, list[str]]:
    """Those of proc_pid_status(5)."""
    return {name: words.split() for name, _, words in (line.partition(":") for line in status.splitlines())}


def set_uid_cat(folder: Path, owner: int) -> str:
    needs_root()
    program = Path(shutil.copy(needs("cat"), folder / "cat"))
    os.chown(program, owner, owner)
    program.chmod(0o4755)
    return str(program)


def test_an_ordinary_users_program_is_supervised(user: dict[str, str]) -> None:
    """With no_new_privs, without which the kernel does not let it."""
    done = as_user(user, "--", needs("cat"), "/proc/self/status")
    found = fields(done.stdout)
    assert (found["NoNewPrivs"], found["Seccomp"], found["CapEff"]) == (["1"], ["2"], ["0" * 16])
    assert done.stderr == ""


def test_a_set_uid_program_keeps_its_privileges(folder: Path, user: dict[str, str]) -> None:
    """For an ordinary user it is root as it is without us, not supervised, and that is said."""
    program = set_uid_cat(folder, 0)
    done = as_user(user, "--", program, "/proc/self/status")
    found = fields(done.stdout)
    assert found["Uid"][:2] == [str(NOBODY), "0"]
    assert (found["NoNewPrivs"], found["Seccomp"]) == (["0"], ["0"])
    assert done.stderr == f"{NOTE}{program} {PRIVILEGES}\n"


def test_a_set_uid_program_is_not_started_supervised(folder: Path, user: dict[str, str]) -> None:
    """When that was asked for: it would not be what it is."""
    program = set_uid_cat(folder, 0)
    assert_refused(as_user(user, "--hand-over", "supervised", "--", program, "/dev/null"), 125, PRIVILEGES)


def test_a_set_gid_program_keeps_its_privileges(folder: Path, user: dict[str, str]) -> None:
    """As one that is set-uid."""
    program = Path(set_uid_cat(folder, 0))
    program.chmod(0o2755)
    done = as_user(user, "--", str(program), "/proc/self/status")
    assert fields(done.stdout)["Gid"][:2] == [str(NOBODY), "0"]
    assert done.stderr == f"{NOTE}{program} {PRIVILEGES}\n"


@pytest.mark.parametrize("owner", [0, NOBODY])
def test_root_has_a_set_uid_program_supervised(owner: int, folder: Path) -> None:
    """It loses nothing: root needs no no_new_privs."""
    done = run("--hand-over", "supervised", "--", set_uid_cat(folder, owner), "/proc/self/status")
    found = fields(done.stdout)
    assert found["Uid"][:2] == ["0", str(owner)]
    assert (found["NoNewPrivs"], found["Seccomp"]) == (["0"], ["2"])
    assert done.stderr == ""


def test_root_of_a_container_is_as_an_ordinary_user(folder: Path) -> None:
    """It may not do without no_new_privs either, and a set-uid program would lose what it gains."""
    program = set_uid_cat(folder, NOBODY)
    done = run_within("docker-with-ptrace", "--", program, "/proc/self/status")
    found = fields(done.stdout)
    assert (found["Uid"][:2], found["NoNewPrivs"]) == (["0", str(NOBODY)], ["0"])
    assert done.stderr == f"{NOTE}{program} {PRIVILEGES}\n"
    done = run_within("docker-with-ptrace", "--", needs("cat"), "/proc/self/status")
    assert (fields(done.stdout)["NoNewPrivs"], done.stderr) == (["1"], "")


@pytest.mark.parametrize(("mode", "no_new_privs"), [("docker", "0"), ("docker-with-ptrace", "1")])
def test_an_ordinary_user_in_a_container(mode: str, no_new_privs: str, user: dict[str, str]) -> None:
    """Supervised where root is, with no_new_privs; elsewhere shared, and nothing is taken from the program."""
    runner = [*command_as(NOBODY), "run", "--", needs("cat"), "/proc/self/status"]
    done = subprocess.run(
        within(mode, *runner), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
        env=user,
    )  # fmt: skip
    assert fields(done.stdout)["NoNewPrivs"] == [no_new_privs], done.stderr
    assert (FORBIDDEN in done.stderr, done.stderr.count("\n")) == ((True, 1) if mode == "docker" else (False, 0))


def test_ping_works_for_an_ordinary_user(user: dict[str, str]) -> None:
    """It has a file capability, or is set-uid; started directly it says the same."""
    needs_root()
    ping = needs("ping")
    if not os.stat(ping).st_mode & 0o4000 and "security.capability" not in os.listxattr(ping):
        unavailable(f"{ping} has no privileges of its own")
    done = as_user(user, "--", ping, "-c1", "127.0.0.1")
    assert done.returncode == 0, done.stderr
    assert "1 packets transmitted, 1 received" in done.stdout
    assert done.stderr == f"{NOTE}{ping} {PRIVILEGES}\n"


def test_sudo_works_for_an_ordinary_user(tmp_path: Path, user: dict[str, str]) -> None:
    """With rules that only this test sees."""
    needs_root()
    sudo = needs("sudo")
    rules = tmp_path / "sudoers"
    rules.write_text(f"#{NOBODY} ALL=(root) NOPASSWD: ALL\n")
    rules.chmod(0o440)
    done = subprocess.run(
        [needs("unshare"), "--mount", needs("sh"), "-c", 'mount --bind "$0" /etc/sudoers && exec "$@"', str(rules),
         *command_as(NOBODY), "run", "--", sudo, "-n", needs("id"), "-u"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
        env=user,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr
    assert done.stderr == f"{NOTE}{sudo} {PRIVILEGES}\n"


# Listens on its port at two addresses in a child that has hidden itself, then at one itself: PORT [reuse].
HIDES = program("hides.py")


def python_of_all(folder: Path) -> str:
    """A Python that every user may start."""
    for name in (sys.executable, os.path.realpath(sys.executable), "/usr/bin/python3"):
        try:
            if not subprocess.run([name, "-c", ""], user=NOBODY, cwd=folder, check=False).returncode:
                return name
        except OSError:  # it lies where only root may look
            continue
    unavailable("needs a Python that every user may start")
    raise AssertionError("unreachable")


@pytest.mark.parametrize(("option", "came"), [("reuse", "listens"), ("plain", str(errno.EADDRINUSE))])
def test_a_process_that_hides_itself_goes_by_the_open_door(
    option: str, came: str, folder: Path, user: dict[str, str]
) -> None:
    """A warning names it, once; the others are supervised as before, and the run goes on."""
    needs_root()
    done = as_user(user, "--", python_of_all(folder), "-c", HIDES, "{port}", option)
    *results, child = done.stdout.split()
    assert (done.returncode, results) == (3, [came, came]), done.stderr
    warning, hint = done.stderr.splitlines()
    assert warning.startswith(f"anyport: warning: process {child} (hides) can't be supervised: ")
    assert hint.startswith("hint: it hides itself (PR_SET_DUMPABLE, set-uid)")


def test_one_that_hides_itself_and_sets_no_reuseaddr_is_released(folder: Path, user: dict[str, str]) -> None:
    """As where it is shared: it fails once, and is started again on the same port."""
    needs_root()
    code = f"{HIDES.partition('child =')[0]}import ctypes; ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)\n"
    code += "socket.socket().bind(('127.0.0.1', port)); print(port)"
    done = as_user(user, "--", python_of_all(folder), "-c", code, "{port}")
    assert (done.returncode, done.stderr.count("now released")) == (0, 1), done.stderr
    assert f"without {done.stdout.strip()}: nobody else has it" in done.stderr


def test_root_sees_through_it(tmp_path: Path) -> None:
    """Its runner may trace whoever hides."""
    needs_root()
    done = run("--", *script(tmp_path, HIDES), "{port}", "plain")
    assert done.stdout.split()[:2] == ["listens", "listens"]
    assert (done.returncode, done.stderr) == (3, "")


REASONS: list[tuple[int, str]] = [
    (errno.EBUSY, CAUSES["nested"]),
    (errno.EACCES, f"/bin/program {PRIVILEGES}"),
    (errno.ENOSYS, MISSING),
    (errno.EINVAL, CAUSES["old-kernel"]),
    (errno.ENOEXEC, "/bin/program is a program of 32 bits, whose system calls are not trapped"),
    (errno.EPERM, FORBIDDEN),
    (errno.ENOMEM, "(errno 12)"),
]


@pytest.mark.parametrize(("number", "text"), REASONS)
def test_every_errno_has_its_words(number: int, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no Yama, or it lets parents trace their children."""
    for scope in (0, 1):
        monkeypatch.setattr(enter, "_ptrace_scope", lambda scope=scope: scope)
        assert text in enter.reason(enter.SupervisionRefused("seccomp", number), "/bin/program")


@pytest.mark.parametrize("scope", ["2\n", "3\n"])
def test_yama_is_named(scope: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only for the errno that it gives."""
    read: list[str] = []
    monkeypatch.setattr(sysctl, "read", answering(scope, read))
    error = enter.SupervisionRefused("pidfd_getfd", errno.EPERM)
    assert enter.reason(error, "x") == f"kernel.yama.ptrace_scope is {scope.strip()}, so it may not be traced"
    assert set(read) == {"kernel/yama/ptrace_scope"}
    assert enter.reason(enter.SupervisionRefused("seccomp", errno.ENOSYS), "x") == MISSING


def answering(value: str, read: list[str]) -> Callable[[str], str]:
    def answer(name: str) -> str:
        read.append(name)
        return value

    return answer


def test_without_yama_nothing_of_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file is not there, or says something else."""

    def missing(_: str) -> str:
        raise FileNotFoundError

    for read in (missing, answering("", [])):
        monkeypatch.setattr(sysctl, "read", read)
        assert FORBIDDEN in enter.reason(OSError(errno.EPERM, "Operation not permitted"), "x")
