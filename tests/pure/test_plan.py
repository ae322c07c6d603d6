"""What a run can't be: each is refused with a hint, before anything is started."""

import pytest

from anyport._cli.run import Command
from anyport.errors import InvalidSelection


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--ready-timeout", "-1"], "the duration -1 is below its limit, 0"),
        (["--ready-timeout", "0"], "no program is ready within 0 s"),
        (["--retries", "-1"], "'-1' is no number of retries"),
        (["--retries", "many"], "'many' is no number of retries"),
        (["--hand-over", "magic"], "'magic' is no hand-over"),
        (["--hand-over", "shared", "--env", "FD={fd}"], "{fd} is a socket that the program inherits"),
        (["--log", "x"], "--log goes with --detach only"),
        (["--detach", "-v"], "--verbose does not go with --detach"),
        (["--json"], "--json has nothing to write"),
        (["--env", "X"], "'X' is no variable and value"),
        (["--as", "port"], "the label 'port' is the name of a placeholder of its own"),
        (["--port", "99999"], "99999"),
        (["--port"], "argument --port: expected one argument"),
        (["--map", "x"], "x"),
        (["--map", ""], "''"),
        (["--map", "0"], "0"),
        (["--map", "70000"], "70000"),
        (["--map", "8080="], "--map 8080=: no port has the label ''"),
        (["--map", "8080", "--map", "8080"], "--map 8080 is there twice"),
        (["-n", "1", "--map", "8080", "--map", "5432"], "--map 5432 has no port to stand for"),
        (["--as", "web", "--map", "8080", "--map", "5432"], "--map 5432 has no port to stand for"),
        (["--map", "8080", "--hand-over", "shared"], "--map needs the supervised hand-over"),
        (["--map", "8080", "--hand-over", "released"], "--map needs the supervised hand-over"),
        (["--map", "8080", "--hand-over", "inherited"], "--map needs the supervised hand-over"),
        (["--map", "8080", "--env", "FD={fd}"], "--map needs the supervised hand-over"),
        (["--map", "8080", "--udp"], "--map is for TCP ports only"),
        (["--map"], "argument --map: expected one argument"),
    ],
)
def test_what_can_not_be_is_refused(options: list[str], message: str) -> None:
    """The message names what was given, and the hint is a way out."""
    with pytest.raises(InvalidSelection) as caught:
        Command([*options, "--", "true"])
    assert message in str(caught.value)
    assert caught.value.hint
