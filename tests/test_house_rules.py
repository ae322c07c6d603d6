"""The house checks itself: reading order, public names, start-up budget, sizes, documents."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import anyport

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "anyport"

# Bottom to top: a module imports only what stands above it here.  CONTRIBUTING.md says what each is for.
READING_ORDER = [
    "_version", "_address", "_occupant", "errors", "_ports", "_clock", "_files", "_background",
    "_linux", "_linux.row", "_linux.flock", "_linux.socket", "_linux.sysctl", "_linux.netlink", "_linux.sock_diag",
    "_linux.proc_net", "_linux.proc", "_linux.pidfd",
    "_linux.rtnetlink", "_linux.bpf", "_linux.closings", "_linux.signal", "_linux.libc", "_linux.prctl",
    "_linux.signalfd", "_linux.seccomp", "_linux.pidfd_getfd", "_linux.process_vm",
    "_processes",
    "_ledger", "_ledger.record", "_ledger.owner", "_ledger.place", "_ledger.file", "_ledger.book", "_ledger.turns",
    "_ledger.keeper", "_ledger.reading", "_ledger.health",
    "_portserver", "_portserver.wire", "_portserver.client",
    "_who", "_who.table", "_who.occupants", "_who.by_psutil", "_who.look", "_who.verdict", "_who.who", "_who.tree",
    "_who.wait",
    "_find", "_find.candidates", "_find.names", "_find.selection", "_find.blocks", "_find.probe", "_find.supply",
    "_find.search", "_find.facts", "_find.remarks", "_find.found", "_find.reserved", "_find.find",
    "_hold", "_hold.door", "_hold.holder", "_hold.activation", "_hold.hold",
    "_supervise", "_supervise.enter", "_supervise.policy", "_supervise.passage", "_supervise.mapping",
    "_supervise.supervisor",
    "_run", "_run.template", "_run.signals", "_run.program", "_run.plan", "_run.order", "_run.handover", "_run.report",
    "_run.readiness", "_run.conflict", "_run.deadlines", "_run.watch", "_run.daemon", "_run.runner", "_run.detach",
    "_run.run",
    "_serve", "_serve.owners", "_serve.pool", "_serve.listener", "_serve.connection", "_serve.log", "_serve.lending",
    "_serve.server",
    "_doctor", "_doctor.rehearsal", "_doctor.features", "_doctor.findings", "_doctor.advice",
    "_cli", "_cli.output", "_cli.parser", "_cli.table",
    "_cli.find", "_cli.hold", "_cli.who", "_cli.wait", "_cli.serve", "_cli.doctor", "_cli.run_options", "_cli.run",
    "_testing", "_testing.tree", "_testing.program", "pytest_plugin",
    "__init__", "__main__",
]  # fmt: skip


def modules() -> dict[str, Path]:
    found = {
        path.relative_to(SOURCE).with_suffix("").as_posix().replace("/", "."): path for path in SOURCE.rglob("*.py")
    }
    return {name.removesuffix(".__init__"): path for name, path in found.items()}


def imports(path: Path) -> set[str]:
    """The modules of the package that a file imports, inside functions and for type checkers too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "anyport":
            base = node.module.removeprefix("anyport").removeprefix(".")
            below = {f"{base}.{alias.name}".lstrip(".") for alias in node.names} & set(READING_ORDER)
            names |= below or {base or "__init__"}
        elif isinstance(node, ast.Import):
            names |= {alias.name.removeprefix("anyport.") for alias in node.names if alias.name.startswith("anyport.")}
    return names


def test_the_reading_order_names_every_module_once() -> None:
    """And no other."""
    assert sorted(READING_ORDER) == sorted(modules())


@pytest.mark.parametrize("name", READING_ORDER)
def test_a_module_imports_only_what_stands_above_it(name: str) -> None:
    """So there is no cycle, and the code can be read from the first file to the last."""
    above = set(READING_ORDER[: READING_ORDER.index(name)])
    assert imports(modules()[name]) <= above


def test_contributing_lists_the_modules_in_that_order() -> None:
    """The list that people read is the list that is checked."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    text = text[text.index("## Reading order") : text.index("## Where do I change")]
    listed, folder = list[str](), ""
    for line in text.splitlines():
        if found := re.match(r"- `(\w+)\.py`: ", line):
            listed.append(f"{folder}{found[1]}")
        elif line and not line.startswith("- "):  # a folder's heading, or that of the files outside of one
            folder = f"{found[1]}." if (found := re.match(r"`(\w+)/`: ", line)) else ""
            listed += [folder[:-1]] if folder else []
    assert listed == READING_ORDER


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: path.name)
def test_files_say_what_they_are(path: Path) -> None:
    """A docstring that begins with one sentence.  How long a file may be is advice: as long as its one subject."""
    text = path.read_text()
    assert (ast.get_docstring(ast.parse(text)) or "").split("\n")[0].rstrip(":")


def test_functions_are_short() -> None:
    """Half of them at most 10 lines of code, none more than 40 (docstrings and signatures apart)."""
    lengths = {}
    for name, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                lengths[f"{name}.{node.name}"] = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
    assert sorted(lengths.values())[len(lengths) // 2] <= 10
    assert {name: length for name, length in lengths.items() if length > 40} == {}


def test_public_names_are_listed_and_documented() -> None:
    """Each can be had, has a docstring, and `dir` shows it."""
    assert sorted(anyport.__all__) == sorted(anyport._HOMES) == sorted(dir(anyport))
    for name in anyport.__all__:
        value = getattr(anyport, name)
        assert getattr(anyport, name) is value, "a module took the place of a name"
        assert name == "__version__" or value.__doc__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        anyport.nothing  # noqa: B018


LOADED = """
import sys
before = set(sys.modules)
sys.argv = ["anyport", *sys.argv[1:]]
from anyport.__main__ import run
run(sys.argv[1:])
print(*sorted(set(sys.modules) - before), file=sys.stderr)
"""
# Modules of the standard library that each form may import, besides those that are there at start.
PLAIN = {"_socket", "_struct", "errno", "fcntl", "gc", "itertools", "struct", "_operator"}
WITH_OPTIONS = PLAIN | {
    "argparse", "re", "re._casefix", "re._compiler", "re._constants", "re._parser", "_sre", "enum", "types",
    "operator", "keyword", "reprlib", "_collections", "collections", "functools", "_functools", "copyreg",
    "gettext", "locale", "_locale", "collections.abc", "_typing", "_types", "warnings",
}  # fmt: skip
WITH_RECORDS = WITH_OPTIONS | {"typing", "typing.io", "typing.re", "contextlib"}
WITH_CALLS = PLAIN | {"_ctypes", "ctypes", "ctypes._endian", "types", "_signal", "select"}
if sys.version_info >= (3, 14):  # where these modules import more themselves
    WITH_RECORDS |= {"annotationlib", "ast", "_ast"}
    WITH_CALLS |= {"sysconfig", "threading", "_collections", "_contextvars", "_types", "_weakrefset"}
FORMS = [
    ("", PLAIN), ("8080", PLAIN), ("8080 8081", PLAIN), ("--from 1080", PLAIN),
    ("--from 1080 --tcp", WITH_OPTIONS), ("--ephemeral", WITH_OPTIONS),
    ("--name web", WITH_OPTIONS | {"_blake2"}), ("--in 7002-7011", WITH_OPTIONS),
    ("run -- true", WITH_CALLS),
    ("run -v -- true", WITH_OPTIONS | WITH_CALLS),
    ("hold --for 1ms", WITH_OPTIONS | {"_signal", "select"}),
    ("who 8080", WITH_RECORDS), ("wait 8080 --timeout 0", WITH_RECORDS | {"select"}),
    ("--json", WITH_OPTIONS | {"json", "json.decoder", "json.encoder", "json.scanner", "_json"}),
]  # fmt: skip


@pytest.mark.parametrize(("line", "allowed"), FORMS)
def test_start_up_imports_only_what_it_needs(line: str, allowed: set[str]) -> None:
    """A list for each form: what is not on it costs every user milliseconds at every start."""
    command = [sys.executable, "-I", "-c", LOADED, *line.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = {name for name in done.stderr.splitlines()[-1].split() if not name.startswith("anyport")}
    assert loaded - allowed == set()


def test_importing_the_package_loads_nothing_but_itself() -> None:
    """Names are loaded on first use."""
    code = "import sys; before = set(sys.modules); import anyport; print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["anyport"]


TESTS = ROOT / "tests"


def strings_in(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The line and the text of each string that is no docstring; of an f-string what is the same each time."""
    docstrings = {each.value for each in ast.walk(tree) if isinstance(each, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield node.lineno, "".join(str(part.value) for part in node.values if isinstance(part, ast.Constant))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docstrings:
            yield node.lineno, node.value


def test_programs_of_more_than_ten_lines_are_files() -> None:
    """In tests/helpers/programs, where linters see them: in a string nobody reads them but their interpreter."""
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in TESTS.rglob("*.py")
        for line, text in strings_in(ast.parse(path.read_text())) if len(text.strip().splitlines()) > 10
    ]  # fmt: skip
    assert found == []


def test_every_one_of_them_is_run() -> None:
    """By a test or a helper that asks for it by its name."""
    texts = [path.read_text() for path in TESTS.rglob("*.py")]
    asked = {name for text in texts for name in re.findall(r'\bprogram\("([\w.]+)"\)', text)}
    assert asked == {path.name for path in (TESTS / "helpers" / "programs").iterdir() if path.is_file()}


def test_changelog_entries_link_their_cause() -> None:
    """An issue for every bullet."""
    bullets = re.findall(r"^- (?:.|\n(?!\n|-|#))*", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert bullets
    assert [bullet for bullet in bullets if not re.search(r"\(issue \d+\)", bullet)] == []


def test_the_wheel_has_types() -> None:
    """`py.typed` is there, so type checkers read the annotations."""
    assert (Path(anyport.__file__).parent / "py.typed").exists()
