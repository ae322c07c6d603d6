"""Owners that are processes: a claim ends with them, and on nothing but proof."""

import os
import subprocess
import sys

import pytest

from anyport._clock import pauses
from anyport._ledger import owner, record
from anyport._linux import proc
from helpers.serving import another_process
from helpers.support import NOBODY, needs_root, python_as

NOW = 1_000_000


def test_a_process_lives_until_it_has_ended() -> None:
    """Also if nobody has waited for it yet."""
    with another_process() as process:
        found = owner.owner_of(process.pid)
        assert found
        assert owner.lives(found)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not owner.lives(found)
        assert owner.owner_of(process.pid) is None
    assert not owner.lives(found)
    assert owner.owner_of(process.pid) is None


_FIRST_THREAD_ENDS = """
import ctypes, threading
threading.Thread(target=input).start()
ctypes.CDLL(None).pthread_exit(None)
"""


def test_a_process_whose_first_thread_has_ended_lives_on() -> None:
    """Its state is that of one that has ended, and is not waited for."""
    with subprocess.Popen([sys.executable, "-c", _FIRST_THREAD_ENDS], stdin=subprocess.PIPE) as process:
        assert any(getattr(proc.stat(process.pid), "state", "") == "Z" for _ in pauses(60))
        found = owner.owner_of(process.pid)
        assert found
        assert owner.lives(found)
        process.communicate(b"\n")
    assert not owner.lives(found)


def test_a_pid_that_is_used_again_is_another_process() -> None:
    """Told by when it started."""
    pid, started, namespace = record.unpack_process(owner.owner_of(os.getpid()) or 0)
    assert owner.lives(record.pack_process(pid, started, namespace))
    assert not owner.lives(record.pack_process(pid, started + 1, namespace))


def test_a_process_of_another_pid_namespace_counts_as_alive() -> None:
    """Its number says nothing here; the deadline will end its claim."""
    pid, started, namespace = record.unpack_process(owner.owner_of(os.getpid()) or 0)
    assert owner.lives(record.pack_process(pid, started + 1, namespace ^ 1))


def test_unknown_means_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where /proc shows no processes of others, or nothing at all."""
    mine = owner.owner_of(os.getpid()) or 0
    monkeypatch.setattr(proc, "stat", lambda _pid: None)
    assert owner.lives(mine)
    monkeypatch.setattr(owner, "_namespace", lambda: 0)
    assert owner.lives(mine)


def test_another_users_process_that_is_hidden_counts_as_alive() -> None:
    """kill(2) tells it from one that has ended: EPERM."""
    needs_root()
    with another_process() as process:
        found = owner.owner_of(process.pid)
        code = f"""
from anyport._ledger import owner
from anyport._linux import proc
proc.stat = lambda pid: None
print(owner.lives({found}), proc.is_there(4194303))
"""
        assert python_as(NOBODY, code).stdout == "True False\n"


def test_a_record_is_a_claim_as_long_as_its_owner_lives() -> None:
    """And its deadline is not over; those of other kinds ask for no process."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        claim = record.pack_claim(NOW + 5, record.PROCESS, owner.owner_of(process.pid) or 0)
        assert owner.is_claimed(claim, NOW)
        assert not owner.is_claimed(claim, NOW + 5)
        process.kill()
    assert not owner.is_claimed(claim, NOW)
    assert owner.is_claimed(record.pack_claim(NOW + 5, record.GIVEN, 1), NOW)
