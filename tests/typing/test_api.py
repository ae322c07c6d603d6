"""What type checkers know of the public names: mypy and pyright read this file, pytest runs it."""

import os
from typing import assert_type

import pytest

import anyport


def test_find_is_an_int() -> None:
    """Whatever the words."""
    assert_type(anyport.find(), int)
    assert_type(anyport.find([8080, 8081], host=["127.0.0.1"], keep="10s"), int)


def test_find_many_is_a_list() -> None:
    """Of int."""
    assert_type(anyport.find_many(2, contiguous=True), list[int])
    assert_type(anyport.find_many(as_=["web", "db"]), list[int])


def test_who_is_a_list_of_occupants() -> None:
    """Whatever the words."""
    found = anyport.who()
    assert_type(found, list[anyport.Occupant])
    assert_type(anyport.who(8080, tcp=True, connections=False), list[anyport.Occupant])
    assert_type(anyport.who([8080, "7002-7011"], udp=True, processes=False), list[anyport.Occupant])
    for each in found:
        assert_type((each.state, each.user, each.seconds_left), tuple[str, str | None, float | None])


def test_wait_is_nothing_or_timed_out() -> None:
    """Which has the sockets."""
    assert_type(anyport.wait("20123", until="unused", timeout="1s", strict=True), None)
    with pytest.raises(anyport.TimedOut) as caught:
        anyport.wait([20123, "20124-20125"], timeout=0, tree=os.getpid())
    assert_type(caught.value.occupants, list[anyport.Occupant])


def test_refusals_have_types() -> None:
    """As far down as the process."""
    with pytest.raises(anyport.NoUnusedPort) as caught:
        anyport.find(in_="6665-6669")
    assert_type(caught.value.refusals, list[anyport.Refusal])
    for refusal in caught.value.refusals:
        assert_type(refusal.occupants, tuple[anyport.Occupant, ...])
        assert_type([process.pid for each in refusal.occupants for process in each.processes], list[int])


def test_positional_arguments_end_after_the_first_and_options_have_names() -> None:
    """Type checkers and Python agree."""
    with pytest.raises(TypeError):
        anyport.find(8080, True)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    with pytest.raises(TypeError, match=r"^find\(\) .* 'contiguous'$"):
        anyport.find(contiguous=True)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
