"""Errors on their way through the runner's pipe; what to do about a program that ended."""

import json
import os

import pytest

from anyport import errors
from anyport._occupant import Occupant, Process, Refusal
from anyport._run import conflict, report

OCCUPANT = Occupant("tcp", "::", 80, state="LISTEN", uid=0, processes=(Process(1, "nginx", ("nginx", "-g")),))
REFUSAL = Refusal(80, "tcp", "*", 98, "in use", (OCCUPANT,))


@pytest.mark.parametrize(
    "error",
    [
        errors.AnyportError("a", hint="b"),
        errors.InvalidSelection("a", hint="b"),
        errors.NoUnusedPort("a", hint="b", errno=98, refusals=[REFUSAL]),
        errors.NotReady("a", hint="b", status=-15),
        errors.ProgramNotFound("a", errno=2),
        errors.ResourceLimit("a", errno=24),
    ],
)
def test_an_error_survives_the_pipe(error: errors.AnyportError) -> None:
    """Class, message, hint and facts."""
    again = report.unpack_error(json.loads(json.dumps(report.pack_error(error))))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


def test_an_error_of_another_version_is_still_one() -> None:
    """Of a class that we do not know."""
    again = report.unpack_error({"error": "FromTheFuture", "message": "a", "facts": {"hint": "b"}})
    assert type(again) is errors.AnyportError
    assert again.hint == "b"


def test_events_end_with_the_last_whole_line() -> None:
    """A runner that is killed while it writes leaves half of one."""
    reading, writing = os.pipe()
    os.write(writing, b'{"event": "started"}\n{"event": "rea')
    os.close(writing)
    assert list(report.events(reading)) == [{"event": "started"}]


def test_only_a_conflict_means_another_start() -> None:
    """Somebody else has the port; or nobody has, and the program was seen to be refused by our own hold."""
    assert conflict.verdict(taken=True, refused_by_us=False) == conflict.ANOTHER_PORT
    assert conflict.verdict(taken=True, refused_by_us=True) == conflict.ANOTHER_PORT
    assert conflict.verdict(taken=False, refused_by_us=True) == conflict.RELEASE
    assert conflict.verdict(taken=False, refused_by_us=False) == conflict.PASS_ON


def test_an_early_end_is_told_in_words() -> None:
    """By status or by signal; or it was the runner that was killed."""
    assert str(report.ended_early([7002], 3, "")) == "the program ended with status 3 before it listened on 7002"
    assert str(report.ended_early([7002], -9, "")) == "the program was killed by signal 9 before it listened on 7002"
    assert "the runner of the program was killed" in str(report.ended_early([], None, ""))
