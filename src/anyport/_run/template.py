"""Placeholders: `{port}` and its like in the arguments of a program, and the variables it gets (pure).

Only the names of `known` are placeholders, spelled exactly; every other brace stays what it is (`awk '{print}'`), and
so does one behind a dollar sign, for `${port}` is the shell's.
"""

from anyport._address import pair
from anyport._find.selection import variable
from anyport._hold.activation import FIRST
from anyport.errors import InvalidSelection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_OWN = ("port", "host", "address", "fd")
_LOOPBACK = "127.0.0.1"  # for {host} when none was named: what a server should be told that nobody else shall reach


class Template:
    """Fill placeholders in a command and in variables; `labels` are those of the ports."""

    def __init__(self, command: "Sequence[str]", variables: "Mapping[str, str]", labels: "Sequence[str]") -> None:
        for label in labels:
            if label in _OWN:
                raise InvalidSelection(
                    f"the label {label!r} is the name of a placeholder of its own",
                    hint=f"take another one than {', '.join(_OWN)}",
                )
        self.command = list(command)
        self.variables = checked_variables(variables)
        self.labels = list(labels)

    def uses(self, name: str) -> bool:
        """Tell whether this placeholder stands anywhere."""
        marked = {name: "\0"}  # no argument holds a NUL
        return any("\0" in fill(text, marked) for text in (*self.command, *self.variables.values()))

    def unseen(self) -> "list[str]":
        """Return the labels of which no argument or variable has the placeholder or the variable's name."""
        texts = " ".join((*self.command, *self.variables.values()))
        return [label for label in self.labels if not self.uses(label) and variable(label) not in texts]

    def filled(self, ports: "Sequence[int]", host: "str | None") -> "tuple[list[str], dict[str, str]]":
        """Return the command, and the variables that the program gets besides those of the caller."""
        values = known(ports, self.labels, host)
        environment = {"PORT": values["port"]}
        environment.update((variable(label), values[label]) for label in self.labels)
        environment.update((name, fill(text, values)) for name, text in self.variables.items())
        return [fill(text, values) for text in self.command], environment


def known(ports: "Sequence[int]", labels: "Sequence[str]", host: "str | None") -> "dict[str, str]":
    """Return what each placeholder stands for; `{port}`, `{address}` and `{fd}` are those of the first port."""
    where = host or _LOOPBACK
    values = {"port": str(ports[0]), "host": where, "address": pair(where, ports[0]), "fd": str(FIRST)}
    return {**values, **{label: str(port) for label, port in zip(labels, ports, strict=False)}}


def fill(text: str, values: "Mapping[str, str]") -> str:
    """Return the text with each `{name}` of `values` replaced; what is put in is not looked at again."""
    if "{" not in text:
        return text
    parts = text.split("{")
    filled = [parts[0]]
    for part in parts[1:]:
        name, brace, rest = part.partition("}")
        if brace and name in values and not filled[-1].endswith("$"):
            filled.append(values[name] + rest)
        else:
            filled.append("{" + part)
    return "".join(filled)


def checked_variables(variables: "Mapping[str, str]") -> "dict[str, str]":
    """Return these variables; InvalidSelection if one of them can't stand in an environment (environ(7))."""
    for name, value in variables.items():
        if not isinstance(name, str) or not name or "=" in name or "\0" in name:
            raise InvalidSelection(f"{name!r} is no name of a variable: it has a character at least, and no = or NUL")
        if not isinstance(value, str) or "\0" in value:
            raise InvalidSelection(f"{value!r} is no value for the variable {name}: that is a text without NUL")
    return dict(variables)


def parse_variable(text: str) -> "tuple[str, str]":
    """Return the name and the value of `NAME=VALUE`."""
    name, equals, value = text.partition("=")
    if not (equals and name):
        raise InvalidSelection(f"{text!r} is no variable and value", hint="--env NAME={port}")
    return name, value
