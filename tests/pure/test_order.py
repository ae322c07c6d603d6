"""What the library asks of its runner, on its way to a plan."""

import pytest

from anyport import errors
from anyport._run.order import descriptors, pack, plan_of, unpack

PLAN = {"hand_over": "auto", "retries": 5, "ready_timeout": "2m", "own": ["8080=web"]}


def order(**changed: object) -> dict[str, object]:
    return {"selection": {"as_": ["web"]}, "plan": PLAN, "variables": {"URL": "{web}"}, "caller": 7, **changed}


@pytest.mark.parametrize("text", ["", "a=b", "line\nline", "\udcff", 'quote"', "\x01", "grüße"])
def test_an_order_survives_the_way(text: str) -> None:
    """As one line, whatever its texts hold: bytes that are no UTF-8, too."""
    line = pack(order(variables={text or "A": text}))
    assert line.count(b"\n") == 1
    assert unpack(line) == order(variables={text or "A": text})


def test_half_an_order_is_none() -> None:
    """Whoever wrote it was killed, or it was no order at all."""
    assert unpack(pack(order())[:-1]) is None
    for line in (b"", b"\n", b"{garbage}\n", b"5\n"):
        assert unpack(line) is None


def test_the_plan_is_what_was_asked_for() -> None:
    """Readiness is awaited, and the program is the command's."""
    plan = plan_of(order(), ["sh", "{web}"])
    assert (plan.retries, plan.limit, plan.own, plan.is_awaited) == (5, 120.0, {8080: 0}, True)
    assert (plan.template.command, plan.template.variables) == (["sh", "{web}"], {"URL": "{web}"})
    assert plan.file.endswith("/sh")


@pytest.mark.parametrize(
    ("variables", "seen"),
    [({"": "x"}, "''"), ({"A=B": "c"}, "'A=B'"), ({"A\0": "c"}, "no name"), ({"A": "\0"}, "no value"), ({5: "c"}, "5")],
)
@pytest.mark.parametrize("where", ["variables", "environment"])
def test_what_can_stand_in_no_environment_is_refused(where: str, variables: dict[str, str], seen: str) -> None:
    """A name with an equals sign would become another variable, and a NUL the end of it."""
    wrong = order(variables=variables) if where == "variables" else order(plan={**PLAN, "environment": variables})
    with pytest.raises(errors.InvalidSelection) as error:
        plan_of(wrong, ["sh"])
    assert seen in str(error.value)


def test_the_program_is_looked_for_in_its_own_path() -> None:
    """As subprocess looks for it: in the PATH of the environment that was given."""
    with pytest.raises(errors.ProgramNotFound):
        plan_of(order(plan={**PLAN, "environment": {"PATH": "/nowhere"}}), ["sh"])
    assert plan_of(order(plan={**PLAN, "environment": {"PATH": "/bin"}}), ["sh"]).file == "/bin/sh"


def test_descriptors_are_read_from_the_argument() -> None:
    """Two of them, and nothing else."""
    assert descriptors("--from-library=5,7") == (5, 7)
    for word in ("", "5", "5,", "5,x", "5,6,7", "5,99999999999"):
        with pytest.raises(errors.InvalidSelection, match="is for the library"):
            descriptors(f"--from-library={word}")
