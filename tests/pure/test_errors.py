"""The exception tree."""

import pickle

import pytest

import anyport
from anyport import errors

REFUSAL = anyport.Refusal(
    80, "tcp", "*", 98, (anyport.Occupant("tcp", "::", 80, "LISTEN", 0, (anyport.Process(7, "x"),)),)
)
EXAMPLES = [
    errors.AnyportError("a", hint="b"),
    errors.InvalidSelection("a", hint="b"),
    errors.AddressUnavailable("a", hint="b", errno=99),
    errors.NoUnusedPort("a", hint="b", errno=98, refusals=[REFUSAL]),
    errors.ResourceLimit("a", errno=24),
    errors.LedgerError("a"),
    errors.Unsupported("a"),
]


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_errors_survive_pickling_with_their_facts(error: errors.AnyportError) -> None:
    """They come back from a worker process as they were."""
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error) == "a"
    assert vars(again) == vars(error)
    assert getattr(again, "errno", None) == getattr(error, "errno", None)


def test_errors_are_children_of_the_builtin_they_resemble() -> None:
    """Whoever catches OSError or ValueError catches them."""
    assert issubclass(errors.NoUnusedPort, OSError)
    assert issubclass(errors.AddressUnavailable, OSError)
    assert issubclass(errors.InvalidSelection, ValueError)
    assert all(isinstance(error, errors.AnyportError) for error in EXAMPLES)


def test_a_refusal_says_all_that_is_known() -> None:
    """Number, protocol, state, address, process."""
    assert str(REFUSAL) == "80/tcp is in use: LISTEN on [::]:80, x (pid 7)"


def test_a_refusal_never_invents_an_occupant() -> None:
    """What can't be seen is said to be unseen, and whose it is."""
    unseen = REFUSAL._replace(occupants=())
    assert "can not be seen" in str(unseen)
    foreign = REFUSAL._replace(occupants=(REFUSAL.occupants[0]._replace(processes=(), uid=5),))
    assert "uid 5, its process can't be seen" in str(foreign)
    left = REFUSAL._replace(occupants=(REFUSAL.occupants[0]._replace(processes=(), state="TIME_WAIT"),))
    assert "left over" in str(left)
    odd = REFUSAL._replace(errno=71)
    assert "errno 71" in str(odd)
