"""Where the ledger lies: one place for a user, whatever comes and goes, and what happens between two steps there."""

import fcntl
import os
import shutil
import subprocess
import sys
import time
from errno import ENOSPC
from pathlib import Path

import pytest

import anyport
from anyport._clock import boot_microseconds
from anyport._ledger import file as file_module
from anyport._ledger import keeper, place, record
from anyport._ledger.book import Book, Moved
from anyport._ledger.record import GIVEN, NOTHING
from anyport._ledger.turns import Ledger
from helpers.support import NO_VARIABLE, free_uid, needs_root, no_folders, numbers, private_network, python_as

MINUTE = 60_000_000
FROM_8000 = NO_VARIABLE + "import anyport; print(anyport.find(from_=8000))"


class Places:
    """Two places of the test's own, and the warnings of those who open a ledger in them."""

    def __init__(self, folder: Path) -> None:
        self.first, self.second = folder / "first", folder / "second"
        self.said: list[str] = []

    def book(self) -> Ledger:
        return Ledger(lambda: place.open_ledger(1, lambda _kind, message, _hint: self.said.append(message)))


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    made = Places(tmp_path)
    monkeypatch.delenv(place.VARIABLE)
    monkeypatch.setattr(place, "_folders", lambda _uid: [str(made.first), str(made.second)])
    return made


def claim(book: Book, port: int) -> None:
    book.acquire()
    book.claim(port, MINUTE, GIVEN, book.now, NOTHING)
    book.release()


def claimed(book: Book) -> set[int]:
    book.acquire()
    try:
        return set(record.claims_in(book.records(), book.now, lambda _owner: True))
    finally:
        book.release()


def test_a_login_and_a_logout_change_nothing() -> None:
    """/run/user/UID comes and goes with them."""
    uid = free_uid("login")
    session = Path(f"/run/user/{uid}")
    given = []
    with private_network(), no_folders(uid):
        for _ in range(2):
            given.append(python_as(uid, FROM_8000).stdout)
            session.mkdir()
            os.chown(session, uid, uid)
            given.append(python_as(uid, FROM_8000).stdout)
            shutil.rmtree(session)
    assert len(set(given)) == 4


def test_a_later_place_is_left_when_the_first_can_be_used_again(places: Places) -> None:
    """Its claims are taken along by whoever comes next, and by those who have it open; that it was used is told."""
    places.first.symlink_to("/nowhere")
    early = places.book()
    claim(early, 8000)
    assert early.path.startswith(str(places.second))
    assert places.said == [f"the ledger can't be kept in {places.first}: it is not a directory"]
    places.first.unlink()
    late = places.book()
    assert claimed(late) == {8000}
    assert (late.path, list(places.second.iterdir())) == (f"{places.first}/{place._name(1)}", [])
    assert not early.is_current()
    claim(early, 8001)
    assert claimed(late) == claimed(early) == {8000, 8001}
    assert early.path == late.path


def test_what_is_claimed_while_a_later_place_is_removed_is_not_lost(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last writer came after the first look, and before the file was gone: there is a second look."""
    places.first.symlink_to("/nowhere")
    early = places.book()
    claim(early, 8000)
    places.first.unlink()
    really = os.unlink

    def written_first(path: str) -> None:
        claim(early, 8001)
        really(path)

    monkeypatch.setattr(os, "unlink", written_first)
    assert claimed(places.book()) == {8000, 8001}


def test_a_place_with_no_room_is_told(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    """No inode is left: silence would mean that others, who have their file already, are not seen."""
    really = os.mkdir

    def full(path: str, mode: int) -> None:
        if path == str(places.first):
            raise OSError(ENOSPC, os.strerror(ENOSPC))
        really(path, mode)

    with monkeypatch.context() as patched:
        patched.setattr(os, "mkdir", full)
        claim(places.book(), 8000)
    assert places.said == [f"the ledger can't be kept in {places.first}: {os.strerror(ENOSPC)}"]
    assert claimed(places.book()) == {8000}


def test_no_such_place_is_not_told(places: Places) -> None:
    """A system without /dev/shm."""
    places.first = places.first / "missing"
    claim(places.book(), 8000)
    assert places.said == []


def test_what_was_removed_at_the_last_logout_is_brought_back(places: Places) -> None:
    """RemoveIPC: whoever has the file open takes its claims along, and overwrites nobody's."""
    holder, other = places.book(), places.book()
    for port in (8000, 8001):
        claim(holder, port)
    shutil.rmtree(places.first)
    other.acquire()
    other.claim(8001, 2 * MINUTE, GIVEN, 77, NOTHING)
    other.claim(8002, MINUTE, GIVEN, other.now, NOTHING)
    other.release()
    assert claimed(holder) == claimed(other) == {8000, 8001, 8002}
    assert record.given_at(record.record_in(other.readable(), 8001)) == 77


def test_a_folder_that_is_removed_while_it_is_opened_is_made_again(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its opening and the file's."""
    really, left = os.open, [1]

    def removed_first(path: str, flags: int, mode: int = 0o777, *, dir_fd: "int | None" = None) -> int:
        if dir_fd is not None and left:
            left.pop()
            places.first.rmdir()
        return really(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", removed_first)
    claim(places.book(), 8000)
    assert len(list(places.first.iterdir())) == 1
    assert places.said == []


def replaced(path: str) -> None:
    """Another file at this path, which is a ledger too."""
    Path(f"{path}.new").touch(0o600)
    os.replace(f"{path}.new", path)


def test_a_file_that_is_replaced_before_it_is_locked_is_not_written(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not deleted, but another one: the claim must go where the others look."""
    book = places.book()
    claim(book, 8000)
    really, left = fcntl.flock, [1]

    def after(fd: int, operation: int) -> None:
        if left:
            left.pop()
            replaced(book.path)
        really(fd, operation)

    monkeypatch.setattr(fcntl, "flock", after)
    claim(book, 8001)
    assert claimed(places.book()) == {8000, 8001}


def test_a_file_that_is_removed_while_claims_are_written_is_told_at_once(places: Places) -> None:
    """Before anybody hears of the number: then it is chosen anew, and claimed where the others look."""
    book = places.book()
    book.acquire()
    book.claim(8000, MINUTE, GIVEN, book.now, NOTHING)
    replaced(book.path)
    with pytest.raises(Moved):
        book.release()
    claim(places.book(), 8001)
    assert claimed(book) == {8000, 8001}


@pytest.mark.parametrize("count", [1, 2])
def test_find_goes_where_the_others_are(count: int, ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a warning (which would be an error here): nothing is lost."""
    really, left = os.pwrite, [1]

    def removed_after(fd: int, data: bytes, at: int) -> int:
        done = really(fd, data, at)
        if left and at and os.fstat(fd).st_size == record.WHOLE:
            left.pop()
            ledger.unlink()
        return done

    monkeypatch.setattr(os, "pwrite", removed_after)
    given = anyport.find_many(2) if count > 1 else [anyport.find()]
    claims = record.claims_in(ledger.read_bytes(), boot_microseconds(), lambda _owner: True)
    assert not left
    assert set(given) <= claims.keys()


@pytest.mark.parametrize("shut", ["the folder", "the file"])
def test_a_mode_that_shuts_its_owner_out_is_set_back(shut: str) -> None:
    """As an ordinary user, who may not open what he may change."""
    uid = free_uid(f"shut {shut}")
    with private_network(), no_folders(uid) as (first, second):
        given = [python_as(uid, FROM_8000)]
        (path,) = first.iterdir()
        (first if shut == "the folder" else path).chmod(0)
        given.append(python_as(uid, FROM_8000))
        assert [each.stderr for each in given] == ["", ""]
        assert len({each.stdout for each in given}) == 2
        assert (first.stat().st_mode & 0o777, path.stat().st_mode & 0o777) == (0o700, 0o600)
        assert not second.exists()


@pytest.mark.parametrize("uid", [0, os.geteuid() + 1])
def test_the_way_out_is_one_that_can_be_gone(uid: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only its owner and root can remove what lies in a sticky folder."""
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    _, hint = place.cannot_be_kept("/proc/self/fd", "it is taken")
    begins = "remove it" if uid == 0 else "have uid 0 or root remove it"
    assert hint == f"{begins} (`rm -r /proc/self/fd`), or name a file in ANYPORT_LEDGER"


@pytest.mark.parametrize("in_use", ["claims", "a lock", "nothing"])
def test_an_old_ledger_is_removed_only_if_nobody_uses_it(in_use: str, places: Places) -> None:
    """Its time says little: a clock may have been set."""
    book = places.book()
    book.acquire()
    book.claim(8000, MINUTE if in_use == "claims" else 1, GIVEN, 1, NOTHING)
    book.release()
    os.utime(book.path, (0, time.time() - 26 * 3600))
    if in_use == "a lock":
        book.acquire()
    os.close(place.open_ledger(2, lambda _kind, message, _hint: places.said.append(message))[0])
    assert os.path.exists(book.path) == (in_use != "nothing")
    if in_use == "a lock":
        book.release()


def test_a_ledger_of_another_version_is_not_swept(places: Places) -> None:
    """Whether it has claims can't be read."""
    claim(places.book(), 8000)
    other = places.first / "ledger-9-1"
    other.touch()
    os.utime(other, (0, 0))
    os.close(place.open_ledger(2, lambda _kind, message, _hint: places.said.append(message))[0])
    assert other.exists()


def test_another_time_namespace_sees_the_same_claims() -> None:
    """Its boot clock has an offset."""
    needs_root()
    line = [sys.executable, "-c", "import anyport; print(anyport.find(from_=9000))"]
    inside = ["unshare", "--time", "--boottime", "100000", "--fork", *line]
    given = [subprocess.run(each, capture_output=True, text=True, check=True) for each in [inside, line] * 2]
    assert len({*numbers(" ".join(each.stdout for each in given))}) == 4


def test_claims_come_back_with_the_ledger(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was given while the ledger was locked is claimed in it before anything else is given."""
    anyport.find_many(2)
    monkeypatch.setattr(file_module, "_WAIT", 0.01)
    monkeypatch.setattr(keeper, "_AGAIN", 0.0)
    with ledger.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.warns(anyport.AnyportWarning, match="locked by another process"):
            given = [anyport.find(from_=8000)]
        given.append(anyport.find(from_=8000))
        assert len(set(given)) == 2, "it failed again, and what it gave first was forgotten"
    anyport.find(20123)
    claims = record.claims_in(ledger.read_bytes(), boot_microseconds(), lambda _owner: True)
    assert {*given, 20123} <= claims.keys()


def test_what_others_were_given_since_is_not_claimed_anew(places: Places) -> None:
    """Numbers that a process reserved, and did not use for a while."""
    book, other = places.book(), places.book()
    book.acquire()
    book.take_turn(0)
    reserved = book.reserve(lambda _port: True, 4, MINUTE)
    book.release()
    lost = reserved[1][0]
    other.acquire()
    other.claim(lost, MINUTE, GIVEN, other.now, NOTHING)
    theirs = other.record(lost)
    other.release()
    book.acquire()
    try:
        again = book.renew(reserved, MINUTE)
        assert [port for port, _ in again] == [port for port, _ in reserved if port != lost]
        assert book.record(lost) == theirs
    finally:
        book.release()
