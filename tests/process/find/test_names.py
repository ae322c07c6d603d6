"""--name and --here: the same number each time, its next one when somebody has it, and a word about that."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import anyport as library
from anyport._clock import boot_microseconds
from anyport._find.candidates import Offer, in_order_of_name
from anyport._find.names import digest, work_tree
from anyport._ledger import record
from anyport._linux.sysctl import PortSettings
from helpers.support import COMMAND, anyport, bound, listening, needs, needs_root, outputs_of

_SETTINGS = PortSettings(32768, 60999, frozenset())
_OFFER = Offer(_SETTINGS)


@pytest.fixture(autouse=True)
def no_git_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a git hook that runs the tests, say."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)


def git(folder: Path, *words: str) -> str:
    options = ["user.name=x", "user.email=x@example.org", "protocol.file.allow=always", "init.defaultBranch=main"]
    told = [word for option in options for word in ("-c", option)]
    done = subprocess.run([needs("git"), *told, *words], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.rstrip("\n")


@pytest.fixture
def trees(tmp_path: Path) -> Path:
    """A folder with a repository `one` and what can be made of it."""
    one, bare = tmp_path / "one", tmp_path / "trees"
    for name in ("one", "lib"):
        git(tmp_path, "init", "--quiet", name)
        git(tmp_path / name, "commit", "--quiet", "--allow-empty", "--message=x")
    (one / "below" / "deep").mkdir(parents=True)
    git(one, "worktree", "add", "--quiet", str(tmp_path / "linked"))
    git(one, "submodule", "--quiet", "add", str(tmp_path / "lib"), "lib")
    git(tmp_path, "init", "--quiet", "--separate-git-dir", str(tmp_path / "apart.git"), "apart")
    git(tmp_path, "clone", "--quiet", "--bare", str(one), str(bare / ".bare"))
    (bare / ".git").write_text("gitdir: ./.bare\n")
    git(bare, "worktree", "add", "--quiet", "main")
    (tmp_path / "link").symlink_to(one / "below")
    (one / "empty" / ".git").mkdir(parents=True)
    shutil.move(shutil.copytree(one, tmp_path / "copy"), tmp_path / "moved")
    return tmp_path


@pytest.mark.parametrize(
    ("place", "top"),
    [
        ("one", "one"), ("one/below/deep", "one"), ("link/deep", "one"), ("one/empty", "one"), ("linked", "linked"),
        ("one/lib", "one/lib"), ("apart", "apart"), ("trees/main", "trees/main"), ("moved/below", "moved"),
    ],
)  # fmt: skip
def test_a_work_trees_top_is_what_git_says(trees: Path, place: str, top: str) -> None:
    """From a folder below, over a link, in a linked work tree, a submodule, beside a bare repository."""
    assert work_tree(str(trees / place)) == git(trees / place, "rev-parse", "--show-toplevel") == str(trees / top)


@pytest.mark.parametrize(
    ("place", "found"),
    [
        (".", "."), ("apart.git", "apart.git"), ("trees/.bare/refs", "trees"), ("one/.git", "one"),
        ("one/.git/refs", "one"), ("linked", "linked"), ("noise/below", "noise"),
    ],
)  # fmt: skip
def test_where_git_knows_no_work_tree(trees: Path, place: str, found: str) -> None:
    """Outside the folder itself; inside of .git its tree; and a tree whose repository is out of sight is still one."""
    (trees / "noise" / "below").mkdir(parents=True)
    (trees / "noise" / ".git").write_text("noise")
    shutil.rmtree(trees / "one" / ".git" / "worktrees")
    with pytest.raises(subprocess.CalledProcessError):
        git(trees / place, "rev-parse", "--show-toplevel")
    assert work_tree(str(trees / place)) == str((trees / found).resolve())


def test_another_users_tree_is_a_tree(trees: Path) -> None:
    """git refuses to work there; as root in a container that sees the user's files, say."""
    needs_root()
    for path in (trees / "one", trees / "one" / ".git"):
        os.chown(path, 12345, 12345)
    with pytest.raises(subprocess.CalledProcessError):
        git(trees / "one", "rev-parse", "--show-toplevel")
    assert work_tree(str(trees / "one" / "below")) == str(trees / "one")


def here(folder: "Path | str", *options: str, env: "dict[str, str] | None" = None) -> str:
    """The number, and nothing was said."""
    done = anyport("--here", *options, cwd=folder, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_here_is_the_work_tree(trees: Path) -> None:
    """Its number from everywhere in it; another tree, a linked one, a submodule and a label have another."""
    assert here(trees / "one") == here(trees / "one" / "below" / "deep") == here(trees / "link")
    others = [here(trees / name) for name in ("one", "lib", "linked", "one/lib", "trees/main", "moved")]
    labelled = [here(trees / "one", "--as", label) for label in ("api", "web")]
    assert len({*others, *labelled}) == len(others) + len(labelled)
    both = here(trees / "one" / "below", "--as", "web", "--as", "api")
    assert both.split() == [port.strip() for port in reversed(labelled)]


def test_here_outside_git_is_the_folder(tmp_path: Path) -> None:
    """And no other one, not even one below."""
    (tmp_path / "below").mkdir()
    assert here(tmp_path) == here(tmp_path)
    assert here(tmp_path / "below") != here(tmp_path)


def test_a_hook_of_git_has_the_number_of_its_tree(trees: Path) -> None:
    """Though git sets GIT_DIR and others for it; nor do such variables of the caller's count."""
    hook = trees / "one" / ".git" / "hooks" / "pre-commit"
    hook.write_text(f"#!/bin/sh\necho $GIT_DIR >{trees}/said && cd below && {COMMAND} --here >>{trees}/said\n")
    hook.chmod(0o755)
    linked = trees / "linked"
    (linked / "below").mkdir()
    git(linked, "commit", "--quiet", "--allow-empty", "--message=y")
    assert (trees / "said").read_text() == f"{trees}/one/.git/worktrees/linked\n{here(linked)}"
    elsewhere = {"GIT_DIR": str(trees / "one" / ".git"), "GIT_WORK_TREE": str(trees / "one")}
    assert here(linked, env=os.environ | elsewhere) == here(linked) != here(trees / "one")


def test_a_folder_may_have_any_name(tmp_path: Path) -> None:
    """Also one that is no text."""
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/\xff caf\xc3\xa9 'x'\n")
    os.mkdir(folder)
    assert here(folder) == here(folder) != here(tmp_path)
    with listening("127.0.0.1", int(here(folder))):
        moved = anyport("--here", cwd=folder)
        assert moved.returncode == 0
        assert "\\udcff café" in moved.stderr


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    """A message, no traceback."""
    gone = tmp_path / "gone"
    gone.mkdir()
    done = subprocess.run(
        f"rmdir {gone}; {COMMAND} --here", shell=True, cwd=gone, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr == "anyport: there is no current folder: No such file or directory\nhint: cd to one that exists\n"
    )


def named(*words: str) -> "tuple[int, str]":
    """The number, and what was said."""
    done = anyport(*words)
    assert done.returncode == 0, done.stderr
    return int(done.stdout), done.stderr


def test_a_name_gives_the_same_number_again() -> None:
    """Its own claim does not keep it out; another name, and a label, have another number."""
    web, said = named("--name", "web")
    assert (web, said) == named("--name", "web") == (web, "")
    others = [named("--name", "db"), named("--name", "web", "--as", "api")]
    assert len({web, *(port for port, _ in others)}) == 3


def test_a_number_that_was_given_to_somebody_else_moves() -> None:
    """The claim of a caller who named no name counts, and stderr says so; naming the number does not take it away."""
    web, _ = named("--name", "web")
    assert named(str(web))[0] == web
    assert named("--name", "web") == (web, "")
    assert named("--in", str(web))[0] == web
    moved, said = named("--name", "web")
    assert moved != web
    assert said == f"anyport: note: {web}, the number of 'web', is claimed by another caller; gave {moved}\n"
    assert named("--name", "web", "--only")[0] == web


@pytest.mark.parametrize("words", [["--name", "web"], ["--here"], ["--here", "--as", "api"]])
def test_a_number_that_a_stranger_has_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    """To the next in its order, the same each time, and back when it is unused again; --only insists."""
    needs_root()
    monkeypatch.chdir(tmp_path)
    own, _ = named(*words)
    name = {"web": "'web'", "--here": f"'{tmp_path}'", "api": f"'{tmp_path}' 'api'"}[words[-1]]
    with listening("127.0.0.1", own):
        moved, said = named(*words)
        note = f"anyport: note: {own}, the number of {name}, is in use; gave {moved}\n"
        assert said == f"{note}hint: `anyport who {own}` shows what is using it\n"
        assert named(*words) == (moved, said)
        for verb in ([], ["hold", "--for", "1m"]):
            insisted = anyport(*verb, *words, "--only")
            assert (insisted.returncode, insisted.stdout) == (1, "")
            assert f"anyport: {own}/tcp is in use: " in insisted.stderr
            assert f"(pid {os.getpid()}, root) listens on 127.0.0.1" in insisted.stderr
            assert "hint: leave --only out" in insisted.stderr
        refused = anyport("run", *words, "--only", "--", "true")
        assert (refused.returncode, refused.stdout) == (125, "")
        assert f"anyport: {own}/tcp is in use: " in refused.stderr
        told = anyport("run", *words, "--", "sh", "-c", "echo $PORT")
        assert (told.stdout, told.stderr) == (f"{moved}\n", said)
    assert named(*words) == (own, "")


def test_a_second_hold_of_a_name_is_told() -> None:
    """The first one has the number."""
    own, said = named("hold", "--for", "1m", "--name", "web")
    assert said == ""
    other, said = named("--name", "web")
    assert other != own
    assert f"{own}, the number of 'web', is in use; gave {other}" in said
    assert anyport("hold", "--release", str(own)).returncode == 0
    assert named("--name", "web") == (own, "")


def first_number(name: str, label: str = "") -> int:
    """With the kernel's default settings, which the tests of root have."""
    return next(in_order_of_name(digest("name", name, label, os.geteuid()), _SETTINGS.is_ephemeral, _OFFER))


def alike(texts: Iterator["tuple[str, str]"]) -> "tuple[tuple[str, str], tuple[str, str]]":
    """The first two of these names and labels that have the same first number: usually among some 180."""
    seen: dict[int, tuple[str, str]] = {}
    for text in texts:
        number = first_number(*text)
        if number in seen:
            return seen[number], text
        seen[number] = text
    raise AssertionError("none")


def test_two_names_with_one_number() -> None:
    """Who comes second gets his next one, and is told; who came first keeps it."""
    needs_root()
    (one, _), (other, _) = alike((f"agent-{count}", "") for count in range(2000))
    own, said = named("--name", one)
    assert (own, said) == (first_number(one), "")
    moved, said = named("--name", other)
    assert moved != own
    assert said == f"anyport: note: {own}, the number of '{other}', is claimed by another caller; gave {moved}\n"
    assert named("--name", one) == (own, "")
    assert named("--name", other) == (moved, said)


def test_two_labels_with_one_number() -> None:
    """Of the same call: the second one gets another number, and stderr says so."""
    needs_root()
    (_, one), (_, other) = alike(("web", f"l{count}") for count in range(2000))
    done = anyport("--name", "web", "--as", one, "--as", other)
    first, second = map(int, done.stdout.split())
    assert first == first_number("web", one) != second
    text = f"{first}, the number of 'web' '{other}', is that of another label, too; gave {first}, {second}"
    assert done.stderr == f"anyport: note: {text}\n"


def test_two_users_have_two_numbers() -> None:
    """The user is part of the name."""
    assert len({digest("here", "/srv/app", "", uid) for uid in (0, 1000, 1001)}) == 3


def test_udp_and_one_address_count_as_asked() -> None:
    """A stranger on UDP is in nobody's way on TCP, nor is one on another address."""
    needs_root()
    own, _ = named("--name", "web")
    with bound("127.0.0.1", own, kind=2):
        assert named("--name", "web") == (own, "")
        assert named("--name", "web", "--udp")[0] != own
    with listening("127.0.0.1", own):
        assert named("--name", "web", "--host", "127.0.0.2") == (own, "")


_MANY = """
import os, sys, anyport
print(*(f"{name}={anyport.find(name=name)}" for name in (f"{os.getpid()}-{count}" for count in range(63))))
"""


def test_a_thousand_names_at_once_have_a_thousand_numbers(ledger: Path) -> None:
    """16 processes ask for 63 each; where two hash alike, the second moves on.  Each is claimed, and by its name."""
    given = dict(text.split("=") for output in outputs_of(_MANY, 16) for text in output.split())
    assert len(given) == len(set(given.values())) == 16 * 63
    claims, now = ledger.read_bytes(), boot_microseconds()
    assert record.claims_in(claims, now, lambda _owner: True).keys() == set(map(int, given.values()))
    for name, port in given.items():
        owner = int.from_bytes(digest("name", name, "", os.geteuid())[16:], "little")
        claim = record.record_in(claims, int(port))
        assert record.is_claimed(claim, now)
        assert not record.is_claimed(claim, now, owner)


def test_the_library_has_names_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command's numbers."""
    monkeypatch.chdir(tmp_path)
    assert library.find(name="web") == named("--name", "web")[0]
    assert [library.find(here=True, as_="api")] == library.find_many(here=True, as_=["api"])
    assert library.find(here=True, as_="api") == named("--here", "--as", "api")[0]
    with pytest.raises(library.InvalidSelection, match="is no name"):
        library.find(name="\ud800")


def test_a_name_may_be_any_bytes() -> None:
    """As a command line may."""
    assert named("--name", os.fsdecode(b"\xff")) == named("--name", os.fsdecode(b"\xff"))
    assert named("--name", "café") == named("--name", "café")
