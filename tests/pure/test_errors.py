"""The exception tree."""

import pickle

import pytest

import anyport
from anyport import errors

REFUSAL = anyport.Refusal(
    80, "tcp", "*", 98, "in use",
    (anyport.Occupant("tcp", "::", 80, state="LISTEN", uid=0, inode=9, processes=(anyport.Process(7, "x"),)),),
)  # fmt: skip
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


def test_a_refusal_says_number_protocol_and_reason() -> None:
    """One line, for a list of them."""
    assert str(REFUSAL) == "80/tcp is in use"


def test_an_occupant_says_all_that_is_known_and_nothing_more() -> None:
    """State, address, process; what can't be seen is said to be unseen, and whose it is."""
    (occupant,) = REFUSAL.occupants
    assert str(occupant) == "x (pid 7, uid 0) listens on [::]:80"
    assert str(occupant._replace(processes=(), user="bob", address="1.2.3.4")) == (
        "a socket of bob, whose process can't be seen, listens on 1.2.3.4:80"
    )
    left_over = anyport.Occupant("tcp", "::1", 80, "::1", 5000, "TIME_WAIT", seconds_left=41.4)
    assert str(left_over) == "TIME_WAIT for 41 s more on [::1]:80, left over from a connection to [::1]:5000"
