"""The promise table (docs/promises.md): `hold`, `hold(exclusive=True)` and `find`, every cell under the same attack.

The processes of tests/helpers/attackers.py attack all cells at the same time for 10 s, in a namespace whose kernel has
200 ports to give; a port that was bound and closed is among them.  That is done once in a run, and read by each test.
"""

import contextlib
import fcntl
import json
import os
from typing import Any

import pytest

import anyport
from anyport._ledger.place import VARIABLE
from helpers.attackers import BOTH, OPTIONS, PLAIN, REUSEADDR, REUSEPORT, Target, attack
from helpers.defenders import CLOSED, FOUND, OPEN, SHUT, Outcome, attack_all, everybody
from helpers.support import bound, private_network, sysctl

pytestmark = pytest.mark.slow
MAY_BE_DRAWN = ("open ephemeral udp", "command ephemeral udp")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What came of the attacks; of several workers of pytest-xdist the first makes them."""
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    path = folder / "attack.json"
    with (folder / "attack.lock").open("w") as lock, pytest.MonkeyPatch.context() as patch:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            patch.setenv(VARIABLE, str(folder / "attacked-ledger"))
            path.write_text(json.dumps(attack_all()))
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def outcome(found: Any) -> Outcome:
    """What came of the attack of all at once."""
    return Outcome(found)


@pytest.fixture(scope="module")
def alone(found: Any) -> Outcome:
    """What came of the attacks on what is not held, of each kind by itself."""
    return Outcome(found, alone=True)


@pytest.mark.parametrize("cell", OPEN)
def test_a_program_without_reuseaddr_can_t_take_a_held_number(outcome: Outcome, cell: str) -> None:
    """Nor can one with SO_REUSEPORT, while others come in and go."""
    assert outcome.taken(cell, *({PLAIN, REUSEPORT} & set(OPEN[cell]))) == {}
    assert outcome.taken(cell, REUSEADDR)


@pytest.mark.parametrize("cell", OPEN)
def test_a_program_with_reuseaddr_may_take_a_held_number(outcome: Outcome, cell: str) -> None:
    """That is the door: on each address, any user's, and it listens too."""
    options = {REUSEADDR, BOTH} & set(OPEN[cell])
    taken = outcome.taken(cell, *options)
    assert {who for who, (_, listening, *_) in taken.items() if listening} == everybody(*options)


@pytest.mark.parametrize("cell", SHUT)
def test_nobody_takes_an_exclusively_held_number(outcome: Outcome, cell: str) -> None:
    """Never handed over, or handed over and shut: nobody came, a server came and listens, or came and was killed."""
    assert outcome.taken(cell, *OPTIONS) == {}


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_an_exclusive_hold_lets_in_while_it_is_handed_over(outcome: Outcome, protocol: str) -> None:
    """Those with SO_REUSEADDR, on each address, any user's; before and after nobody, and nobody else meanwhile."""
    opened, shut = outcome.opened
    taken = outcome.taken(f"opens {protocol}", REUSEADDR)
    assert {who for who, (_, listening, *_) in taken.items() if listening} == everybody(REUSEADDR)
    assert opened <= min(first for *_, first, _ in taken.values())
    assert max(last for *_, last in taken.values()) <= shut
    assert outcome.taken(f"opens {protocol}", PLAIN, REUSEPORT) == {}


@pytest.mark.parametrize("cell", [*OPEN, *SHUT])
def test_the_kernel_gives_no_held_number_away(outcome: Outcome, cell: str) -> None:
    """Whatever options those have who ask, by bind(0) or connect, until it has nothing else left."""
    given = outcome.given(cell)
    if cell in MAY_BE_DRAWN:
        assert given["bind", REUSEADDR]
    else:
        assert given == {}


@pytest.mark.parametrize("cell", [*CLOSED, *FOUND])
def test_the_same_attack_takes_what_is_not_held(alone: Outcome, outcome: Outcome, cell: str) -> None:
    """Whoever names it: a port that was bound and closed, and one that was found; among all others somebody does.

    One is refused only while another of the four attackers has this very port, at most every other time.  Each tries
    it more than 400 times, so that one of the 48 never gets it has a probability below 1e-100.
    """
    assert alone.taken(cell, *OPTIONS).keys() == everybody(*OPTIONS)
    assert outcome.taken(cell, *OPTIONS)


@pytest.mark.parametrize("cell", [*CLOSED, *FOUND])
def test_the_kernel_gives_away_what_is_not_held_and_ephemeral(alone: Outcome, outcome: Outcome, cell: str) -> None:
    """A found port outside the ephemeral range is kept out of it.

    Two processes have the kernel choose until it has nothing left, in more than 40 rounds each, half of them by bind.
    In each of these one of the two gets the port, if it is not still in use by bad luck: that no bind, or no connect,
    got it has a probability below 1e-6.
    """
    given = alone.given(cell)
    if "quiet" in cell:
        assert given == outcome.given(cell) == {}
    else:
        assert {what for what, _ in given} == {"bind", "connect"}


@pytest.mark.parametrize("cell", [*OPEN, *SHUT])
def test_other_callers_who_choose_are_never_given_a_held_number(outcome: Outcome, cell: str) -> None:
    """Nine processes that choose among several: the ledger apart too, for the kernel refuses the bind."""
    assert outcome.chosen(cell, "claimed") == outcome.chosen(cell, "alone") == 0


@pytest.mark.parametrize("cell", FOUND)
def test_other_callers_who_choose_keep_off_a_found_number_by_the_ledger_only(outcome: Outcome, cell: str) -> None:
    """While there is another choice; those who do without the ledger are given it."""
    assert outcome.chosen(cell, "claimed") == 0
    assert outcome.chosen(cell, "alone")


def taken_in(port: int, protocol: str, *options: str) -> int:
    """How often a short attack with these options took this number."""
    reports = attack({"it": Target(port, protocol, options)})
    return sum(count for each in reports for count, *_ in each["taken"].values())


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_nobody_takes_an_exclusively_held_number_after_a_visitor_with_both_options(protocol: str) -> None:
    """Who came in and went, with SO_REUSEADDR and SO_REUSEPORT, leaves nothing that lets others of its user in."""
    with private_network(), anyport.hold(exclusive=True, udp=protocol == "udp") as held:
        with held.handing_over():
            assert taken_in(held.port, protocol, BOTH)
        assert not taken_in(held.port, protocol, *OPTIONS)


def test_the_kernel_may_give_an_open_hold_away_where_ip_autobind_reuse_is_set() -> None:
    """To one with SO_REUSEADDR, once nothing else is left; never an exclusive one."""
    with private_network((40000, 40009)), contextlib.ExitStack() as stack:
        sysctl("net/ipv4/ip_autobind_reuse", "1")
        held = stack.enter_context(anyport.hold(ephemeral=True))
        exclusive = stack.enter_context(anyport.hold(ephemeral=True, exclusive=True))
        others = {stack.enter_context(bound("", 0)).getsockname()[1] for _ in range(8)}
        assert others == {*range(40000, 40010)} - {held.port, exclusive.port}
        for _ in range(100):
            with bound("", 0, reuse=True) as drawn:
                assert drawn.getsockname()[1] == held.port
