"""The house checks its words: no code decides by what a message says, and docstrings are sentences."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "anyport"

# What messages and causes are called in this code, as variables and as attributes.
MESSAGES = {"strerror", "message", "reason", "why", "said", "complaint", "warning", "note", "remark", "hint"}
SEARCHES = {
    "partition", "rpartition", "split", "rsplit", "splitlines", "startswith", "endswith", "find", "rfind", "index",
    "rindex", "count", "removeprefix", "removesuffix",
}  # fmt: skip
PATTERNS = {"match", "fullmatch", "search", "findall", "finditer"}
OPERATORS = (ast.In, ast.NotIn, ast.Eq, ast.NotEq)


class Function:
    """A function or a module, and which of its names stand for a message."""

    def __init__(self, tree: ast.AST) -> None:
        self._tree = tree
        self._errors = {each.name for each in self._nodes(ast.ExceptHandler) if each.name}
        self._messages = set(MESSAGES)
        for _ in range(2):  # a name may be given on to another one
            for each in self._nodes(ast.Assign, ast.AnnAssign, ast.NamedExpr):
                targets = each.targets if isinstance(each, ast.Assign) else [each.target]
                if each.value and self._is_message(each.value):
                    self._messages |= {target.id for target in targets if isinstance(target, ast.Name)}

    def _nodes(self, *kinds: type[ast.AST]) -> Iterator[Any]:
        return (each for each in ast.walk(self._tree) if isinstance(each, kinds))

    def _is_message(self, node: ast.expr) -> bool:
        """Whether it is a text for people: by its name, or made of one."""
        match node:
            case ast.Name(id=name):
                return name in self._messages
            case ast.Attribute(attr=name):
                return name in MESSAGES
            case ast.Call(func=ast.Name(id="str" | "repr"), args=[ast.Name(id=name)]):
                return name in self._errors or name == "error"
            case (
                ast.Call(func=ast.Attribute(value=inner)) | ast.Subscript(value=inner)
                | ast.NamedExpr(value=inner) | ast.FormattedValue(value=inner)
            ):  # fmt: skip
                return self._is_message(inner)
            case ast.BoolOp(values=values) | ast.JoinedStr(values=values):
                return any(map(self._is_message, values))
        return False

    def searches(self) -> Iterator[int]:
        """The lines in which a message is compared, or searched."""
        for node in self._nodes(ast.Compare, ast.Call, ast.Match):
            match node:
                case ast.Compare(left=left, ops=[operator], comparators=[right]) if isinstance(operator, OPERATORS):
                    within = isinstance(operator, (ast.In, ast.NotIn))
                    found = self._is_message(right) and (within or _is_fixed(left))
                    found = found or (not within and self._is_message(left) and _is_fixed(right))
                case ast.Call(func=ast.Attribute(value=ast.Name(id="re"), attr=name), args=args):
                    found = name in PATTERNS and any(map(self._is_message, args))
                case ast.Call(func=ast.Attribute(value=text, attr=name)):
                    found = name in SEARCHES and self._is_message(text)
                case ast.Match(subject=subject):
                    found = self._is_message(subject)
                case _:
                    found = False
            if found:
                yield node.lineno


def _is_fixed(node: ast.expr) -> bool:
    """Whether it is a text, or a constant: what is compared with that decides something."""
    return (isinstance(node, ast.Constant) and bool(node.value)) or (isinstance(node, ast.Name) and node.id.isupper())


def searches(code: str) -> list[int]:
    """The lines of a module in which a message is compared, or searched."""
    tree = ast.parse(code)
    functions = [each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef)]
    return sorted({line for each in (*functions, tree) for line in Function(each).searches()})


@pytest.mark.parametrize(
    "code",
    [
        "said = error.strerror or str(error)\ncall = said.partition(':')[0]",
        "if 'ptrace_scope' in broken.why: pass",
        "said = []\nsaid[0].partition(': ')[2].partition(';')[0]",
        "try: pass\nexcept OSError as failed:\n    if 'denied' in str(failed): pass",
        "text = f'{error.strerror}: no'\nfirst = text\nre.match('x', first)",
        "if error.strerror == 'Operation not permitted': pass",
        "match refusal.reason:\n    case 'in use': pass",
        "if (text := str(error)).startswith('no'): pass",
    ],
)
def test_a_decision_by_what_a_message_says_is_found(code: str) -> None:
    """The three that there were, and their like."""
    assert searches(code)


@pytest.mark.parametrize(
    "code",
    [
        "if why: raise OSError(why)",
        "text = f'{error.strerror}, so it is'\nlines.append(text)",
        "if error.errno == EPERM: pass",
        "head, _, rest = line.partition(':')",
        "if name in names: pass",
        "if not why == '': pass",
        "more = [str(each) for each in refusals if str(each) != message]",
    ],
)
def test_other_code_is_not_found(code: str) -> None:
    """To say a message, to know whether there is one, and to search in data."""
    assert not searches(code)


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_no_code_decides_by_what_a_message_says(path: Path) -> None:
    """A message is for people, and may be said better tomorrow; code goes by a value: an errno, a class, a field."""
    assert searches(path.read_text()) == []


# What begins a docstring that goes on from the one above it, or says what is done without a verb.
CONTINUES = ("the same", "of", "to", "and", "but", "or", "in", "by", "with", "for", "do it", "also", "once")
NOUNS = ("the", "a", "an", "whether", "what", "why", "how", "where", "those", "none")  # a function does something


def docstrings(path: Path) -> Iterator[tuple[str, str, bool]]:
    """Each docstring but the module's: where it stands, its first sentence, and whether a function's."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and (text := ast.get_docstring(node)):
            paragraph = " ".join(text.split("\n\n")[0].split())
            yield f"{path.relative_to(SOURCE)}:{node.lineno}: {text[:60]}", paragraph, isinstance(node, ast.FunctionDef)


def is_sentence(text: str, *, of_function: bool) -> bool:
    """Whether it can be read alone, as far as its first words and its last character tell."""
    begins = "|".join((*CONTINUES, *(NOUNS if of_function else ())))
    return not re.match(rf"({begins})\b", text, re.IGNORECASE) and text[-1:] in (".", ":", "?")


@pytest.mark.parametrize(
    ("text", "of_function"),
    [("The same for UDP.", False), ("Of these.", False), ("The port.", True), ("Return the port", True)],
)
def test_a_docstring_that_needs_its_neighbour_is_found(text: str, of_function: bool) -> None:
    """And one without a verb, where it is a function's."""
    assert not is_sentence(text, of_function=of_function)
    assert is_sentence("Return the port.", of_function=True)


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_docstrings_are_sentences_that_can_be_read_alone(path: Path) -> None:
    """Verb first in functions: what it does, or what it returns; in classes also what one is."""
    assert [
        where for where, text, of_function in docstrings(path) if not is_sentence(text, of_function=of_function)
    ] == []
