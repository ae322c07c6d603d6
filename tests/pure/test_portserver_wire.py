"""The portserver protocol's bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyport._portserver import wire
from anyport.errors import InvalidSelection


@given(st.integers(0, 2**32), st.binary(max_size=30))
def test_a_request_is_read_as_it_was_written(pid: int, more: bytes) -> None:
    """Whatever comes behind its line."""
    assert wire.read_request(wire.request(pid) + more) == pid


@given(st.binary(max_size=100))
def test_any_bytes_are_a_request_or_the_beginning_of_one_or_garbage(data: bytes) -> None:
    """A number without a sign, nothing while the line may still become one, else the one error."""
    try:
        pid = wire.read_request(data)
    except wire.Garbage:
        assert b"\n" in data or len(data) > wire.LONGEST
    else:
        assert pid is None if b"\n" not in data else pid is not None and pid >= 0


@given(st.integers(0, 65535))
def test_an_answer_is_read_as_it_was_written(port: int) -> None:
    """0 is none."""
    assert wire.read_answer(wire.answer(port)) == port


@given(st.binary(max_size=100))
def test_any_bytes_are_a_port_or_none_or_garbage(data: bytes) -> None:
    """Never anything else."""
    try:
        assert 0 <= wire.read_answer(data) <= 65535
    except wire.Garbage:
        assert data.strip()


@given(st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=2, max_size=26))
def test_an_address_is_written_as_it_was_read(address: str) -> None:
    """Paths and abstract names."""
    path = wire.sun_path(address)
    assert wire.written(path if path[:1] == b"\0" else path.decode()) == address


@pytest.mark.parametrize("address", ["", "@", "a\0b", "@a\0b", "x" * 108, "@" + "x" * 108, "é" * 54])
def test_what_is_no_address_is_an_error(address: str) -> None:
    """No name, NUL inside, longer than the kernel takes."""
    with pytest.raises(InvalidSelection, match="is no address of a portserver"):
        wire.sun_path(address)


@pytest.mark.parametrize("address", ["@" + "x" * 107, "x" * 107])
def test_the_longest_addresses_are_taken(address: str) -> None:
    """An abstract name has the byte that ends a path."""
    assert len(wire.sun_path(address)) == len(address)
