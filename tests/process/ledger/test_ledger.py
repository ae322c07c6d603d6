"""The ledger never makes things worse: killed, deleted, replaced, cut, filled with noise, squatted, full, read-only."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

import anyport
from anyport._clock import boot_microseconds, pauses
from anyport._find import find as find_module
from anyport._find.probe import Probe
from anyport._ledger import book, record
from anyport._ledger import file as file_module
from anyport._linux.sysctl import boot_word
from anyport._ports import QUIET
from helpers.support import (
    COMMAND,
    NO_VARIABLE,
    NOBODY,
    free_uid,
    needs_root,
    no_folders,
    numbers,
    private_network,
    program,
    python,
    python_as,
)
from helpers.support import anyport as command

FIND = "import anyport\nprint(*(anyport.find() for _ in range(int(sys.argv[1]))))"
ALONE = "import sys\n" + FIND


def header(path: Path) -> int | None:
    with path.open("rb") as file:
        return record.unpack_header(file.read(record.SLOT), boot_word())


CLAIMER = """
import sys, anyport
while True:
    print(anyport.find(), anyport.find(in_="5000-9999"), anyport.find(name="x"), flush=True)
"""


@pytest.mark.slow
def test_claimers_may_be_killed_at_any_moment(ledger: Path) -> None:
    """SIGKILL in a loop of concurrent claimers: the ledger stays whole and no number comes twice."""
    seen: list[int] = []
    for _ in range(25):
        children = [
            subprocess.Popen([sys.executable, "-c", CLAIMER], stdout=subprocess.PIPE, text=True) for _ in range(3)
        ]
        for number, child in enumerate(children):
            assert child.stdout
            lines = [child.stdout.readline() for _ in range(1 + 7 * number)]
            child.send_signal(signal.SIGKILL)
            rest, _ = child.communicate()
            whole = "".join(lines) + rest[: rest.rfind("\n") + 1]
            seen += [port for port in numbers(whole) if port != 0]
        assert header(ledger) is not None
    named = max(set(seen), key=seen.count)
    others = [port for port in seen if port != named]
    assert len(others) == len(set(others)) > 1_000
    assert command().stderr == ""


DIE_IN_CALL = program("dies_in_call.py")


@pytest.mark.parametrize("call", ["pwrite 1 0", "pwrite 1 9", "pwrite 2 0", "pwrite 2 7", "pwrite 3 5", "pwrite 4 0", "ftruncate 1 0", "ftruncate 2 0", "pread 1 0", "pread 2 0"])  # fmt: skip # noqa: E501
def test_a_write_may_be_cut_anywhere(call: str, ledger: Path) -> None:
    """Killed before a call, or in the middle of its bytes: the next caller finds its way, in silence."""
    done = subprocess.run([sys.executable, "-c", DIE_IN_CALL, *call.split()], check=False)
    assert done.returncode == -signal.SIGKILL
    after = command("-n", "3")
    assert (after.returncode, after.stderr) == (0, "")
    assert len(set(numbers(after.stdout))) == 3
    assert header(ledger) is not None


def damages(whole: bytes) -> Iterator[tuple[str, bytes]]:
    first = whole[: record.SLOT]
    yield "empty", b""
    yield "cut in the records", whole[:200_000]
    yield "killed before the header", bytes(record.WHOLE)
    yield "noise below a good header", first + os.urandom(record.WHOLE - record.SLOT)
    yield "before a reboot", record.pack_header(boot_word() ^ 1, 3) + whole[record.SLOT :]
    yield "a turn that is none", record.pack_header(boot_word(), 2**32 - 1) + whole[record.SLOT :]


def test_a_damaged_file_is_repaired_or_read_for_what_it_is(ledger: Path) -> None:
    """In silence, for there is nothing to be done about it; answers stay distinct afterwards."""
    anyport.find_many(3)
    for name, content in damages(ledger.read_bytes()):
        ledger.write_bytes(content)
        done = [command() for _ in range(3)]
        assert [each.stderr for each in done] == ["", "", ""], name
        assert len({each.stdout for each in done}) == 3, name
        assert header(ledger) is not None, name
        assert python(ALONE, "300").returncode == 0, name


def test_noise_in_our_own_place_is_repaired() -> None:
    """In silence: the folder is ours, so nothing else can be lost there."""
    uid = free_uid("noise")
    with private_network(), no_folders(uid) as (shm, _):
        python_as(uid, NO_VARIABLE + FIND, "1")
        (path,) = shm.iterdir()
        path.write_bytes(os.urandom(record.WHOLE))
        done = python_as(uid, NO_VARIABLE + FIND, "300")
        assert (len(set(numbers(done.stdout))), done.stderr) == (300, "")
        assert header(path) is not None


_OTHERS = {
    "text": b"important\n" * 3,
    "begins as a ledger does": b"aplomb and other virtues\n",
    "one letter": b"a",
    "cut in the header": record.pack_header(0, 7)[:9],
    "longer than a ledger": record.pack_header(1, 7) + bytes(record.WHOLE),
    "nothing at first": bytes(record.WHOLE - 1) + b"!",
    "another version": record.MAGIC + b"\x09" + bytes(record.WHOLE - 4),
}


@pytest.mark.parametrize("kind", _OTHERS)
def test_a_named_file_that_is_no_ledger_is_left_alone(kind: str, ledger: Path) -> None:
    """A slip of the pen may not cost anybody his data: a warning, and a ledger of the process."""
    ledger.write_bytes(_OTHERS[kind])
    why = "it is a ledger of version 9" if kind == "another version" else "it holds something else"
    done = command()
    assert int(done.stdout) in QUIET
    assert why in done.stderr
    with pytest.warns(anyport.AnyportWarning, match=why):
        anyport.find()
    assert ledger.read_bytes() == _OTHERS[kind]


def test_a_named_file_that_becomes_another_one_is_left_alone(ledger: Path) -> None:
    """Overwritten while we have it open."""
    anyport.find_many(2)
    ledger.write_text("important\n" * 3)
    with pytest.warns(anyport.AnyportWarning, match="it holds something else"):
        anyport.find_many(2)
    assert ledger.read_text() == "important\n" * 3


def test_deleted_or_replaced_under_a_running_user(ledger: Path) -> None:
    """The path is what counts, not the file that was opened once."""
    first = anyport.find_many(2)
    ledger.unlink()
    second = anyport.find_many(2)
    assert header(ledger) is not None
    ledger.rename(ledger.with_name("old"))
    anyport.find(20123)
    assert header(ledger) is not None
    os.replace(ledger.with_name("old"), ledger)
    assert not set(anyport.find_many(2)) & set(second)
    assert len(first) == len(second) == 2


def test_deleted_while_the_pool_has_numbers(ledger: Path) -> None:
    """A process that asks often goes on, and comes back to the new file."""
    seen = []
    for _ in range(20):
        seen += [anyport.find() for _ in range(100)]  # more than it has at once
        ledger.unlink()
    assert len(seen) == 2_000
    assert all(port in QUIET for port in seen)


@pytest.mark.slow
def test_truncated_while_it_is_used(ledger: Path) -> None:
    """No SIGBUS: it is not mapped."""
    code = "import anyport, os\nfor _ in range(3000):\n    anyport.find(in_='5000-5999')"
    child = subprocess.Popen([sys.executable, "-c", code])
    while child.poll() is None:
        if ledger.exists():
            os.truncate(ledger, 0)
    assert child.returncode == 0


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_full_disk_costs_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """64 KiB are 15 pages of claims: then one warning a process, and distinct answers within it."""
    with private_network(), mounted(tmp_path / "small", "size=64k"):
        monkeypatch.setenv("ANYPORT_LEDGER", str(tmp_path / "small" / "ledger"))
        done = python("import sys, warnings; warnings.simplefilter('default')\n" + FIND, "8000")
        ports = numbers(done.stdout)
        assert len(ports) == len(set(ports)) == 8000
        assert done.stderr.count("No space left on device") == 1
        some = [command("--in", "1024-9999") for _ in range(30)]
        assert all(each.returncode == 0 for each in some)
        assert any("No space left on device" in each.stderr for each in some)


def test_a_read_only_file_system_costs_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer comes all the same."""
    with private_network(), mounted(tmp_path / "fixed", "size=64k,ro"):
        monkeypatch.setenv("ANYPORT_LEDGER", str(tmp_path / "fixed" / "ledger"))
        done = command()
        assert int(done.stdout) in QUIET
        assert "Read-only file system" in done.stderr
        assert "hint: " in done.stderr
        with pytest.warns(anyport.AnyportWarning, match="Read-only"):
            first = anyport.find_many(100)
        assert not set(first) & set(anyport.find_many(100)), "said once, and kept apart within the process"


@pytest.mark.parametrize("kind", ["directory", "fifo", "missing folder", "/dev/null", "/proc/self/mem"])
def test_what_is_no_file_costs_a_warning(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never a hang, never a traceback."""
    place = tmp_path / "odd"
    if kind == "directory":
        place.mkdir()
    elif kind == "fifo":
        os.mkfifo(place)
    else:
        place = Path(kind) if kind.startswith("/") else place / "ledger"
    monkeypatch.setenv("ANYPORT_LEDGER", str(place))
    done = command()
    assert int(done.stdout) in QUIET
    assert f"the ledger '{place}' named in ANYPORT_LEDGER can't be used: " in done.stderr
    assert done.returncode == 0


@pytest.mark.slow
def test_a_lock_that_is_never_released_costs_five_seconds_once(ledger: Path) -> None:
    """A stopped process has it: nothing blocks for longer, and the next call does not wait again."""
    command()
    with ledger.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        begin = time.monotonic()
        with pytest.warns(anyport.AnyportWarning, match="locked by another process for 5 s"):
            anyport.find()
        middle = time.monotonic()
        anyport.find_many(2)
        assert 5 <= middle - begin < 60
        assert time.monotonic() - middle < 5  # what another wait would take


_WRITES_AND_KEEPS_IT = """
import fcntl, os, sys
from anyport._clock import pauses
with open(sys.argv[1], "r+b") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    print("locked", flush=True)
    for _ in pauses(1.5, first=0.03, longest=0.03):
        os.pwrite(file.fileno(), os.pread(file.fileno(), 1, 0), 0)
"""


@pytest.mark.slow
def test_a_lock_that_others_have_in_turn_is_waited_for(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer than one that nobody seems to use: no warning, which would be an error here."""
    command()
    monkeypatch.setattr(file_module, "_WAIT", 0.5)
    line = [sys.executable, "-c", _WRITES_AND_KEEPS_IT, str(ledger)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as others:
        assert others.stdout
        assert others.stdout.readline() == "locked\n"
        begin = time.monotonic()
        given = anyport.find()
        assert time.monotonic() - begin > 0.6
        assert record.is_claimed(record.record_in(ledger.read_bytes(), given), boot_microseconds())
        monkeypatch.setattr(file_module, "_QUEUE", 0.1)
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as others:
        assert others.stdout
        assert others.stdout.readline() == "locked\n"
        with pytest.warns(anyport.AnyportWarning, match="has been locked by others, in turn, for 0.1 s"):
            anyport.find_many(2)


def test_those_who_lost_the_lock_do_not_all_give_the_same(ledger: Path) -> None:
    """They know the same old claims; the oldest of them would be the same number for all."""
    anyport.find_many(19_960)
    with ledger.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        lost = [
            subprocess.Popen([COMMAND], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) for _ in range(5)
        ]
        assert len({child.communicate()[0] for child in lost}) > 1


def wait_until_it_has_open(child: "subprocess.Popen[str]", path: Path) -> None:
    for _ in pauses(60):
        if COMMAND not in Path(f"/proc/{child.pid}/cmdline").read_text():
            continue  # not yet: between fork and exec it has what we have open
        links = [Path(f"/proc/{child.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{child.pid}/fd")]
        if any(link.is_symlink() and os.path.realpath(link) == str(path) for link in links):
            return
    pytest.fail(f"pid {child.pid} does not open {path}")


def test_a_lock_may_be_waited_for(ledger: Path) -> None:
    """Somebody has it for a moment: no warning."""
    command()
    with ledger.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        child = subprocess.Popen([COMMAND], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        wait_until_it_has_open(child, ledger)
    out, err = child.communicate()
    assert (child.returncode, err) == (0, "")
    assert int(out) in QUIET


def test_ctrl_c_is_silent(ledger: Path) -> None:
    """130, and the lock is not needed any more."""
    command()
    with ledger.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        before = signal.signal(
            signal.SIGINT, signal.SIG_DFL
        )  # a shell's background job ignores it, and so its children
        try:
            child = subprocess.Popen([COMMAND], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        finally:
            signal.signal(signal.SIGINT, before)
        wait_until_it_has_open(child, ledger)
        child.send_signal(signal.SIGINT)
        assert child.communicate() == ("", "")
    assert child.returncode == 130


def test_one_file_for_a_user_and_a_namespace_sparse_and_small() -> None:
    """At most 1 MiB, of which hardly anything is on the disk; mode 0600 in a folder of mode 0700."""
    uid = free_uid("sparse")
    with private_network(), no_folders(uid):
        assert python_as(uid, NO_VARIABLE + FIND, "1").returncode == 0
        (path,) = Path(f"/dev/shm/anyport-{uid}").iterdir()
        found = path.stat()
        assert found.st_size <= 1 << 20
        assert found.st_blocks * 512 <= 16_384
        assert (found.st_mode & 0o7777, found.st_uid) == (0o600, uid)
        assert path.parent.stat().st_mode & 0o7777 == 0o700
    with private_network(), no_folders(uid):
        assert python_as(uid, NO_VARIABLE + FIND, "1").returncode == 0
        assert next(Path(f"/dev/shm/anyport-{uid}").iterdir()).name != path.name


@pytest.mark.parametrize(
    "squat", ["another user's folder", "a link", "a file", "a link in the folder", "a second name"]
)
def test_a_place_that_somebody_else_has_taken_is_left_to_him(squat: str) -> None:
    """One warning, the next place, and nothing is followed or written there."""
    uid = free_uid(squat)
    with private_network(), no_folders(uid) as (shm, tmp):
        if squat == "another user's folder":
            shm.mkdir(mode=0o777)
        elif squat == "a link":
            shm.symlink_to(tmp)
        elif squat == "a file":
            shm.touch()
        else:
            python_as(uid, NO_VARIABLE + FIND, "1")
            (path,) = shm.iterdir()
            if squat == "a link in the folder":
                path.unlink()
                path.symlink_to("/etc/passwd")
            else:
                os.link(path, shm / "other")
        done = python_as(uid, NO_VARIABLE + FIND, "50")
        assert len(set(numbers(done.stdout))) == 50
        assert done.stderr.count(f"the ledger can't be kept in {shm}") == 1
        assert len(list(tmp.iterdir())) == 1
        assert squat != "another user's folder" or list(shm.iterdir()) == []


def test_all_places_taken_means_a_ledger_of_the_process() -> None:
    """Distinct within it, and a warning that names the places."""
    uid = free_uid("all")
    with private_network(), no_folders(uid) as (shm, tmp):
        shm.mkdir()
        tmp.mkdir()
        done = python_as(uid, NO_VARIABLE + FIND, "500")
        assert len(set(numbers(done.stdout))) == 500
        assert "there is no place for the ledger" in done.stderr
        assert "belongs to uid 0" in done.stderr
        assert list(shm.iterdir()) == list(tmp.iterdir()) == []


def test_our_own_folder_is_mended() -> None:
    """Modes that were changed are given back: it is ours."""
    uid = free_uid("mode")
    with private_network(), no_folders(uid) as (shm, _):
        shm.mkdir()
        os.chown(shm, uid, uid)
        shm.chmod(0o500)
        done = python_as(uid, NO_VARIABLE + FIND, "2")
        assert done.stderr == ""
        assert shm.stat().st_mode & 0o777 == 0o700


def test_ledgers_of_namespaces_that_are_gone_are_removed() -> None:
    """25 hours after the last write, when the next one is made; their claims are over by then."""
    uid = free_uid("sweep")
    with no_folders(uid) as (shm, _):
        for _ in range(2):
            with private_network():
                python_as(uid, NO_VARIABLE + "anyport.find(keep=0.001)")
        old, young = shm.iterdir()
        os.utime(old, (0, time.time() - 25 * 3600 - 60))
        os.utime(young, (0, time.time() - 24 * 3600))
        with private_network():
            python_as(uid, NO_VARIABLE + FIND, "1")
        assert young.exists()
        assert not old.exists()


def test_two_users_share_a_file_that_both_may_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """ANYPORT_LEDGER: no check of the owner, the mode as found."""
    needs_root()
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        ledger = Path(folder, "ledger")
        ledger.touch()
        ledger.chmod(0o666)
        monkeypatch.setenv("ANYPORT_LEDGER", str(ledger))
        ours = numbers(python(ALONE, "400").stdout)
        done = python_as(NOBODY, FIND, "400")
        assert done.stderr == ""
        assert len({*ours, *numbers(done.stdout)}) == 800
        assert ledger.stat().st_mode & 0o777 == 0o666


def test_another_users_file_in_a_sticky_folder_can_be_shared(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where fs.protected_regular forbids O_CREAT on it, which is the default with systemd."""
    really_open = os.open

    def protected(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if flags & os.O_CREAT and os.path.exists(path):
            raise PermissionError(13, "Permission denied", path)
        return really_open(path, flags, mode, dir_fd=dir_fd)

    ledger.touch()
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", protected)
        assert anyport.find_many(2)
    assert header(ledger) is not None


def test_two_pid_namespaces_share_a_file() -> None:
    """As two containers do: a claim counts until its deadline wherever it was made."""
    needs_root()
    ours = numbers(python(ALONE, "400").stdout)
    inside = ["unshare", "--pid", "--fork", sys.executable, "-c", ALONE, "400"]
    theirs = numbers(subprocess.run(inside, capture_output=True, text=True, check=True).stdout)
    assert len({*ours, *theirs}) == 800


def test_a_process_that_visits_many_namespaces_keeps_few_ledgers_open() -> None:
    """Their files are closed again."""
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(40):
        with private_network():
            anyport.find()
    assert len(os.listdir("/proc/self/fd")) <= before + 16


def test_without_any_place_for_claims_there_is_still_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even memory: a sandbox that knows no memfd_create."""

    def refused(*_args: object) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setenv("ANYPORT_LEDGER", "/proc/nowhere")
    monkeypatch.setattr(os, "memfd_create", refused)
    with pytest.warns(anyport.AnyportWarning, match="can't be used"):
        assert anyport.find() in QUIET
    assert anyport.find(in_="20123-20124") in (20123, 20124)


def test_a_relative_path_means_where_it_was_first_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program may change its current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANYPORT_LEDGER", "mine")
    first = anyport.find_many(2)
    monkeypatch.chdir("/")
    assert not set(anyport.find_many(2)) & set(first)
    assert not Path("/mine").exists()


def test_a_user_who_became_another_has_another_ledger() -> None:
    """A server that drops root after its first call."""
    uid = free_uid("dropped")
    code = program("becomes_another_user.py")
    with private_network(), no_folders(uid) as (shm, _):
        done = python(code, str(uid))
        assert (len(numbers(done.stdout)), done.stderr) == (3, "True\n")
        assert len(list(shm.iterdir())) == 1


LOST_DESCRIPTORS = program("loses_descriptors.py")


@pytest.mark.parametrize("kind", ["file", "memory"])
def test_somebody_closes_all_descriptors(kind: str, tmp_path: Path) -> None:
    """A daemon does, and opens its own files: the numbers are theirs, and nothing of ours is written there."""
    code = "import sys\n" + LOST_DESCRIPTORS
    done = subprocess.run(
        [sys.executable, "-c", code, kind, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_an_unknown_boot_never_wipes_the_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container without /proc/sys/kernel shares the file with one that has it: both keep what is there."""
    from anyport._ledger import keeper

    seen = []
    for number in range(8):
        keeper._ledgers.clear()
        with monkeypatch.context() as patched:
            if number % 2:
                patched.setattr(book, "boot_word", lambda: 0)
            seen.append(anyport.find(in_="20123-20130"))
    assert sorted(seen) == list(range(20123, 20131))


def test_descriptors_run_out_at_the_first_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is an error of this call, and nothing is remembered of it."""
    from anyport._linux import sysctl

    def none_left(_name: str, _root: str = "") -> str:
        raise OSError(24, "Too many open files")

    first = anyport.find(in_="20123-20124", keep=60)
    from anyport._ledger import keeper

    keeper._ledgers.clear()
    with monkeypatch.context() as patched:
        patched.setattr(sysctl, "read", none_left)
        with pytest.raises(anyport.ResourceLimit):
            anyport.find(in_="20123-20124")
    assert {first, anyport.find(in_="20123-20124")} == {20123, 20124}


def test_a_call_within_a_call_does_not_wait_for_itself(ledger: Path) -> None:
    """A signal handler that asks while its own thread has the ledger uses it as well; it stays locked for others."""
    from anyport._ledger.book import Book, Moved

    book = Book(lambda: (os.open(ledger, os.O_RDWR | os.O_CREAT), str(ledger), False))
    book.acquire()
    book.acquire()
    book.claim(8000, 60_000_000, record.GIVEN, book.now, record.NOTHING)
    book.release()
    with ledger.open("r+b") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with pytest.raises(Moved, match="8000 was given to a signal handler"):
        book.claim(8000, 60_000_000, record.GIVEN, book.now, record.NOTHING)
    book.release()
    with ledger.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("way", [{"from_": 8000}, {}, {"ephemeral": True}, {"in_": "8000-8009"}])
def test_a_signal_handler_between_look_and_claim_gets_another_number(
    way: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asks the very moment when a number was seen to be unclaimed, and is not claimed yet."""
    inner, probe = list[int](), Probe.refusal

    def come_in(self: Probe, port: int, *, leftovers: bool = False) -> Any:
        if not inner:
            inner.append(0)
            inner[0] = anyport.find(**way)
        return probe(self, port, leftovers=leftovers)

    monkeypatch.setattr(Probe, "refusal", come_in)
    monkeypatch.setattr(find_module, "take", lambda *_: None)  # by the long way
    outer = anyport.find(**way)
    assert inner
    assert outer != inner[0]
