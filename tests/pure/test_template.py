"""Placeholders: only ours are filled in, everything else stays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyport._run.template import Template, fill, known, parse_variable
from anyport.errors import InvalidSelection

VALUES = known([7002, 9100], ["web", "metrics"], None)
texts = st.text(alphabet=st.sampled_from("{}$portwebfd ab'%\n"), max_size=30)


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("{port}", "7002"),
        ("--port={port}", "--port=7002"),
        ("{port}:db:5432", "7002:db:5432"),
        ("http://{address}/{web}/{metrics}", "http://127.0.0.1:7002/7002/9100"),
        ("{host} {fd}", "127.0.0.1 3"),
        ("{port}{port}", "70027002"),
        ("{print}", "{print}"),
        ("{prot}", "{prot}"),
        ("{print $1} {port}", "{print $1} 7002"),
        ("${port}", "${port}"),
        ("$ {port}", "$ 7002"),
        ("{ port }", "{ port }"),
        ("{Port}", "{Port}"),
        ("{port", "{port"),
        ("{{port}}", "{7002}"),
        ("%d {} {0}", "%d {} {0}"),
        ("", ""),
    ],
)
def test_only_our_names_are_placeholders(text: str, filled: str) -> None:
    """Spelled exactly, and not behind a dollar sign, which makes it the shell's."""
    assert fill(text, VALUES) == filled


@given(texts)
def test_a_text_without_our_names_stays_as_it_is(text: str) -> None:
    """Whatever braces it has."""
    if not any("{" + name + "}" in text for name in VALUES):
        assert fill(text, VALUES) == text


@given(texts, texts)
def test_what_is_put_in_is_not_looked_at_again(before: str, after: str) -> None:
    """A value that looks like a placeholder stays, and nothing around it moves."""
    before = before.rstrip("${")
    values = {"port": "{web}", "web": "{port}"}
    assert fill(before + "{port}" + after, values) == fill(before, values) + "{web}" + fill(after, values)


@given(st.lists(texts, max_size=5))
def test_every_argument_is_filled_by_itself(command: list[str]) -> None:
    """Their number and order stay."""
    assert Template(command, {}, []).filled([7002], None)[0] == [
        fill(each, known([7002], [], None)) for each in command
    ]


def test_the_program_gets_variables() -> None:
    """PORT, one for each label, and those of --env, filled in."""
    template = Template(["x"], {"URL": "http://{address}/", "PATH": "/bin"}, ["web", "my-db"])
    assert template.filled([7002, 9100], "::1")[1] == {
        "PORT": "7002", "WEB_PORT": "7002", "MY_DB_PORT": "9100", "URL": "http://[::1]:7002/", "PATH": "/bin",
    }  # fmt: skip


def test_a_label_that_nobody_may_see_is_noticed() -> None:
    """Neither as a placeholder nor by the name of its variable."""
    template = Template(["sh", "-c", "serve $METRICS_PORT {db}"], {"X": "{web}"}, ["web", "metrics", "db", "admin"])
    assert template.unseen() == ["admin"]


@pytest.mark.parametrize("label", ["port", "host", "address", "fd"])
def test_a_label_may_not_take_the_name_of_a_placeholder(label: str) -> None:
    """It would hide it."""
    with pytest.raises(InvalidSelection, match=f"the label '{label}' is the name of a placeholder"):
        Template(["x"], {}, [label])


@pytest.mark.parametrize("text", ["", "=x", "NAME"])
def test_a_variable_has_a_name_and_a_value(text: str) -> None:
    """The value may be empty, or hold more equals signs."""
    with pytest.raises(InvalidSelection, match="is no variable and value"):
        parse_variable(text)
    assert parse_variable("A=") == ("A", "")
    assert parse_variable("A=b=c") == ("A", "b=c")
