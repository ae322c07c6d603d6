"""Write the generated parts of the reference: the help of the command, and the library's signatures and docstrings.

python docs/generate.py            writes them
python docs/generate.py --check    writes nothing; says which part is stale, and ends with status 1 if one is
"""

import argparse
import ast
import inspect
import os
import re
import subprocess
import sys
from json import dumps
from pathlib import Path

import anyport
from anyport._find import selection

COMMAND, LIBRARY = (Path(__file__).parent / f"reference-{page}.md" for page in ("command", "library"))
_SECTION = re.compile(r"(Args|Returns|Raises|Warns):")
_KINDS = ("Functions", "Objects", "Records", "Errors and warnings", "Values")
_VERBS = ("find", "hold", "run", "who", "wait", "serve", "doctor")


def cli_help(verb: str) -> str:
    """The help as it is written to a file or pipe, where it is always set for 100 columns."""
    environ = os.environ | {"PYTHON_COLORS": "0", "COLUMNS": "100"}
    command = [sys.executable, "-m", "anyport", verb, "--help"]
    shown = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environ).stdout
    return f"```text\n{shown.rstrip()}\n```"


def api() -> str:
    """Everything in `anyport.__all__`, by kind and in alphabetical order."""
    parts: list[str] = []
    for kind in _KINDS:
        parts.append(f"### {kind}")
        for name in sorted(anyport.__all__):
            value = getattr(anyport, name)
            if _kind(value) != kind:
                continue
            if kind == "Values":
                parts.append(f"`{name}: {type(value).__name__}`")
            elif kind == "Objects":
                parts += [f"#### {name}", _docstring(value), *_members(value)]
            else:
                parts += [f"#### {name}", f"```python\n{_signature(name, value)}\n```", _docstring(value)]
                parts += _members(value)
    return "\n\n".join(parts)


def _members(value: object) -> list[str]:
    """The documented properties and methods of a class."""
    parts: list[str] = []
    for name, member in vars(value).items() if isinstance(value, type) else ():
        if name.startswith("_") or not inspect.getdoc(member):
            continue
        if isinstance(member, property):
            parts.append(f"`{value.__name__}.{name}`: {inspect.getdoc(member)}")
        elif inspect.isfunction(member):
            parts += [f"```python\n{_signature(f'{value.__name__}.{name}', member)}\n```", _docstring(member)]
    return parts


def _kind(value: object) -> str:
    if not isinstance(value, type):
        return "Functions" if inspect.isfunction(value) else "Values"
    if issubclass(value, BaseException):
        return "Errors and warnings"
    return "Records" if issubclass(value, tuple) else "Objects"


def _signature(name: str, value: object) -> str:
    if isinstance(value, type) and issubclass(value, BaseException):
        return f"class {name}({', '.join(_public_bases(value))})"
    signature = inspect.signature(value)  # type: ignore[arg-type]
    lines: list[str] = []
    for parameter in signature.parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.VAR_KEYWORD:
            lines += _options(str(parameter.annotation))
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and "*," not in lines:
            lines.append("*,")
        default = "" if parameter.default is parameter.empty else f" = {_literal(parameter.default)}"
        lines.append(f"{parameter.name}: {_annotation(parameter.annotation)}{default},")
    if inspect.isclass(value):
        return "\n".join((f"class {name}(NamedTuple):", *(f"    {line.rstrip(',')}" for line in lines)))
    body = "\n".join(f"    {line}" for line in lines)
    if len(lines) <= 1:
        return f"def {name}({''.join(lines).rstrip(',')}) -> {_annotation(signature.return_annotation)}"
    return f"def {name}(\n{body}\n) -> {_annotation(signature.return_annotation)}"


def _options(annotation: str) -> list[str]:
    """The options that `Unpack[...]` of a TypedDict in selection.py stands for, in the order of Selection's own.

    The class is there for type checkers only, so it is read and not imported.
    """
    classes = {
        node.name: node for node in ast.walk(ast.parse(inspect.getsource(selection))) if isinstance(node, ast.ClassDef)
    }
    wanted = [annotation.removeprefix("Unpack[").removesuffix("]")]
    types: dict[str, str] = {}
    for name in wanted:
        wanted += [base.id for base in classes[name].bases if isinstance(base, ast.Name) and base.id in classes]
        fields = (node for node in classes[name].body if isinstance(node, ast.AnnAssign))
        types.update((ast.unparse(node.target), ast.unparse(node.annotation).strip("'")) for node in fields)
    parameters = inspect.signature(selection.Selection).parameters
    named = (name for name in parameters if name in types)
    return [f"{name}: {types[name]} = {_literal(parameters[name].default)}," for name in named]


def _literal(value: object) -> str:
    """With double quotes, as the formatter wants it, which reads the examples in documents too."""
    return dumps(value) if isinstance(value, str) else repr(value)


def _annotation(annotation: object) -> str:
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    return re.sub(r"anyport\.(\w+\.)*", "", text)


def _public_bases(value: type) -> list[str]:
    names: list[str] = []
    for base in value.__bases__:
        names += _public_bases(base) if base.__name__.startswith("_") else [base.__name__]
    return names


def _docstring(value: object) -> str:
    """A docstring of the Google style as Markdown: each section a paragraph or a list."""
    lines: list[str] = []
    indent = 0  # of a section's items
    for line in (inspect.getdoc(value) or "").splitlines():
        text = line.strip()
        heading = _SECTION.fullmatch(line)
        if heading:
            lines += [f"**{heading[1]}**", ""]
            indent = 4
        elif text and not line.startswith(" "):
            lines.append(text)
            indent = 0
        elif indent and text:
            item, colon, rest = text.partition(": ")
            is_item = len(line) - len(text) == indent and colon and re.fullmatch(r"\w+(, \w+)*", item)
            lines.append(f"- `{item}`: {rest}" if is_item else f"  {text}")
        else:
            lines.append(text)
    return "\n".join(lines)


def replaced(page: Path, text: str, part: str, content: str) -> str:
    """The text with this content between the markers of that part."""
    begin, end = f"<!-- begin: {part} -->\n", f"<!-- end: {part} -->"
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise SystemExit(f"{page}: no markers for the part {part!r}")
    return f"{before}{begin}{content}\n{end}{after}"


def main() -> int:
    """Write or check; the exit status."""
    parser = argparse.ArgumentParser(description="Write the generated parts of the reference.")
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 if a part is stale")
    check: bool = parser.parse_args().check
    stale = write(COMMAND, {f"help of {verb}": cli_help(verb) for verb in _VERBS}, check=check)
    stale += write(LIBRARY, {"api": api()}, check=check)
    for page, part in stale if check else ():
        print(f"{page}: the part {part!r} is stale; run {sys.argv[0]}", file=sys.stderr)
    return 1 if check and stale else 0


def write(page: Path, parts: dict[str, str], *, check: bool) -> list[tuple[Path, str]]:
    """Write these parts of a page, unless they are only to be checked; return those that were stale."""
    text = page.read_text(encoding="utf-8")
    stale: list[tuple[Path, str]] = []
    for part, content in parts.items():
        fresh = replaced(page, text, part, content)
        if fresh != text:
            stale.append((page, part))
        text = fresh
    if stale and not check:
        page.write_text(text, encoding="utf-8")
    return stale


if __name__ == "__main__":
    raise SystemExit(main())
