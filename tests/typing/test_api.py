"""What type checkers know of the public names: mypy and pyright read this file, pytest runs it."""

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


def test_refusals_have_types() -> None:
    """As far down as the process."""
    with pytest.raises(anyport.NoUnusedPort) as caught:
        anyport.find(in_="6665-6669")
    assert_type(caught.value.refusals, list[anyport.Refusal])
    for refusal in caught.value.refusals:
        assert_type(refusal.occupants, tuple[anyport.Occupant, ...])
        assert_type([process.pid for each in refusal.occupants for process in each.processes], list[int])


def test_positional_arguments_end_after_the_first() -> None:
    """Type checkers and Python agree."""
    with pytest.raises(TypeError):
        anyport.find(8080, True)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
