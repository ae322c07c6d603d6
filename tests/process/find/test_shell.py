"""--shell and --shell-file: lines that a shell can eval, and a file of them that nobody sees half of."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anyport import AnyportError, _files
from anyport._cli.output import shell_lines
from anyport._clock import boot_microseconds
from anyport._find.selection import Selection, variable
from anyport._ledger import record
from anyport._ledger.place import VARIABLE
from helpers.support import COMMAND, NOBODY, anyport, anyport_as, needs, needs_root, numbers

SHELLS = ["sh", "bash", "dash"]
BOTH = ("--as", "web", "--as", "db")
LINES = re.compile(r"WEB_PORT=(\d+)\nDB_PORT=(\d+)\n")
LABELS = st.lists(
    st.from_regex(r"[A-Za-z_-][A-Za-z0-9_-]{0,12}", fullmatch=True), min_size=1, max_size=5, unique_by=variable
)


def variables_after(shell: str, script: str, *words: str, cwd: "Path | None" = None) -> dict[str, str]:
    """The environment of what a shell starts after these commands, less what shells set by themselves."""
    done = subprocess.run(
        [needs(shell), "-euc", f"{script}\nexec {needs('env')} -0", shell, *words],
        env={}, cwd=cwd, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    found = dict(each.split("=", 1) for each in done.stdout.split("\0") if each)
    return {name: value for name, value in found.items() if name not in ("PWD", "OLDPWD", "SHLVL", "_")}


@given(LABELS, st.data())
@settings(max_examples=60, deadline=None)
def test_a_shell_reads_exactly_the_numbers(labels: list[str], data: st.DataObject) -> None:
    """Whatever labels are allowed: each variable has its number, and nothing else is set, said or done."""
    ports = data.draw(st.lists(st.integers(1, 65535), min_size=len(labels), max_size=len(labels)))
    variables = [variable(label) for label in Selection(as_=labels).labels]
    expected = dict(zip(variables, map(str, ports), strict=True))
    assert variables_after("sh", 'set -a; eval "$1"', shell_lines(variables, ports)) == expected


@pytest.mark.parametrize("shell", SHELLS)
def test_shell_lines_can_be_evaluated(shell: str) -> None:
    """One variable a label, PORT without."""
    asked = f'eval "$({COMMAND} --here --as web --as data-base --shell)"; export WEB_PORT DATA_BASE_PORT'
    found = variables_after(shell, asked)
    assert found.keys() == {"WEB_PORT", "DATA_BASE_PORT"}
    assert len(set(map(int, found.values()))) == 2
    assert anyport("--shell", "8080").stdout == "PORT=8080\n"


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_can_read_the_file(tmp_path: Path, shell: str) -> None:
    """And hand the variables on."""
    given = numbers(anyport(*BOTH, "--shell-file", ".env.ports", cwd=tmp_path).stdout)
    found = variables_after(shell, "set -a; . ./.env.ports", cwd=tmp_path)
    assert found == {"WEB_PORT": str(given[0]), "DB_PORT": str(given[1])}


@pytest.mark.parametrize("verb", [[], ["hold", "--for", "1s"]])
@pytest.mark.parametrize("option", [[], ["--shell"], ["--json"]])
def test_the_file_has_the_lines_whatever_is_printed(tmp_path: Path, verb: list[str], option: list[str]) -> None:
    """Standard output is as without it: numbers, the same lines, or JSON."""
    done = anyport(*verb, *BOTH, *option, "--shell-file", ".env.ports", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    written = LINES.fullmatch((tmp_path / ".env.ports").read_text())
    assert written
    web, db = map(int, written.groups())
    if option == ["--json"]:
        assert json.loads(done.stdout)["labels"] == {"web": web, "db": db}
    else:
        assert done.stdout == (written[0] if option else f"{web}\n{db}\n")
    assert sorted({path.name for path in tmp_path.iterdir()} - {"ledger"}) == [".env.ports"]


def test_without_a_label_it_is_port(tmp_path: Path) -> None:
    """As with --shell."""
    assert anyport("8080", "--shell-file", "file", cwd=tmp_path).stdout == "8080\n"
    assert (tmp_path / "file").read_text() == "PORT=8080\n"


def claims(ledger: Path) -> dict[int, int]:
    return record.claims_in(ledger.read_bytes(), boot_microseconds(), lambda _owner: True) if ledger.exists() else {}


@pytest.mark.parametrize("verb", [[], ["hold", "--for", "1s"]])
@pytest.mark.parametrize(
    ("path", "message", "hint"),
    [
        ("no/such/file", "no/such/file can't be written: there is no directory no/such", "mkdir -p no/such"),
        ("/dev/null", "'/dev/null' is no regular file, and is not replaced", "name a file"),
        ("folder", "'folder' is no regular file, and is not replaced", "name a file"),
        ("to-folder", "'to-folder' is no regular file, and is not replaced", "name a file"),
        ("", "'' is no regular file, and is not replaced", "name a file"),
        ("file/below", "file/below can't be written: there is no directory file", "mkdir -p file"),
    ],
)
def test_a_file_that_can_not_be(
    tmp_path: Path, ledger: Path, verb: list[str], path: str, message: str, hint: str
) -> None:
    """Status 1, before a port is claimed."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "to-folder").symlink_to("folder")
    done = anyport(*verb, "--shell-file", path, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"anyport: the shell file {message}\nhint: {hint}\n"
    assert claims(ledger) == {}
    in_json = anyport(*verb, "--json", "--shell-file", path, cwd=tmp_path)
    assert json.loads(in_json.stdout) == {"error": f"the shell file {message}", "hint": hint, "refusals": []}


@pytest.fixture
def open_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that every user can reach and write, with the ledger in it."""
    needs_root()
    with TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        (folder / "ledger").touch()
        for path in (folder, folder / "ledger"):
            path.chmod(0o777)
        monkeypatch.setenv(VARIABLE, str(folder / "ledger"))
        yield folder


def test_a_folder_where_no_file_may_be_made(open_folder: Path) -> None:
    """That is said, and with a way out; and so is that a folder is out of reach."""
    (open_folder / "shut").mkdir(mode=0o755)
    (open_folder / "private" / "below").mkdir(parents=True)
    (open_folder / "private").chmod(0o700)
    for folder, why in (
        (open_folder / "shut", f"no files may be made in {open_folder}/shut"),
        (open_folder / "private" / "below", f"{open_folder}/private/below: Permission denied (errno 13)"),
    ):
        done = anyport_as(NOBODY, "--shell-file", str(folder / "file"))
        assert (done.returncode, done.stdout) == (1, "")
        message = f"anyport: the shell file {folder}/file can't be written: {why}\n"
        assert done.stderr == f"{message}hint: name a place of your own\n"
    assert claims(open_folder / "ledger") == {}


def test_wrong_usage(tmp_path: Path) -> None:
    """Status 2, and no file; `run` names its own way."""
    unnamed = anyport("-n", "2", "--shell-file", "file", cwd=tmp_path)
    assert (unnamed.returncode, unnamed.stdout) == (2, "")
    assert "--shell-file has no names for 2 ports" in unnamed.stderr
    both = anyport("--json", "--shell", "--shell-file", "file", cwd=tmp_path)
    assert both.returncode == 2
    assert "--shell and --json can't be used together\nhint: --shell-file goes with both\n" in both.stderr
    for option in ("--shell-file", "--shell-file=file"):
        run = anyport("run", option, "file", "--", "true", cwd=tmp_path)
        assert run.returncode == 125
        assert f"unrecognized arguments: {option}\nhint: --port-file FILE gets the port when" in run.stderr
    assert "hint: the program finds PORT, or WEB_PORT" in anyport("run", "--shell", "--", "true").stderr
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_new_file_has_the_mode_of_any_new_file(tmp_path: Path, umask: int, mode: int) -> None:
    """The umask decides."""
    assert anyport("--shell-file", "file", cwd=tmp_path, umask=umask).returncode == 0
    assert (tmp_path / "file").stat().st_mode & 0o7777 == mode


@pytest.mark.parametrize("mode", [0o640, 0o600, 0o755])
def test_a_file_that_is_replaced_hands_on_its_mode_and_owner(tmp_path: Path, mode: int) -> None:
    """So whoever could read it still can, and nobody else."""
    file = tmp_path / "file"
    file.write_text("old\n")
    if os.geteuid() == 0:
        os.chown(file, 12345, 54321)
    file.chmod(mode)
    before = file.stat()
    assert anyport("--shell-file", "file", cwd=tmp_path, umask=0).returncode == 0
    after = file.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert after.st_ino != before.st_ino


def test_another_users_file_in_a_folder_of_ours_becomes_ours(open_folder: Path) -> None:
    """With the same mode: who may replace a file may not give the new one away."""
    file = open_folder / "file"
    file.write_text("old\n")
    file.chmod(0o640)
    done = anyport_as(NOBODY, "--shell-file", str(file))
    assert (done.returncode, done.stderr) == (0, "")
    assert file.read_text() == f"PORT={done.stdout}"
    assert (file.stat().st_uid, file.stat().st_mode & 0o777) == (NOBODY, 0o640)


@pytest.mark.parametrize("exists", [True, False])
def test_a_symbolic_link_is_replaced(tmp_path: Path, exists: bool) -> None:
    """As by `sed -i`: what it leads to, another tree's file perhaps, stays as it is."""
    target, link = tmp_path / "target", tmp_path / "link"
    if exists:
        target.write_text("old\n")
        target.chmod(0o600)
    link.symlink_to(target)
    assert anyport("--shell-file", str(link), umask=0o022).returncode == 0
    assert not link.is_symlink()
    assert re.fullmatch(r"PORT=\d+\n", link.read_text())
    assert link.stat().st_mode & 0o777 == 0o644
    assert target.exists() is exists
    assert not exists or target.read_text() == "old\n"


@pytest.mark.parametrize("verb", [["--shell-file"], ["run", "--port-file"]])
def test_the_name_of_a_stream_is_no_file(tmp_path: Path, verb: list[str]) -> None:
    """/dev/stdout is a link of everybody's: root would replace it for the whole machine, for its stream is a file."""
    link, output = tmp_path / "stdout", tmp_path / "output"
    link.symlink_to("/proc/self/fd/1")
    with output.open("w") as file:
        line = [COMMAND, *verb, str(link), *(["--", "true"] if verb[0] == "run" else [])]
        done = subprocess.run(line, stdout=file, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert done.returncode == (125 if verb[0] == "run" else 1)
    assert done.stderr.endswith(f" file {str(link)!r} is no regular file, and is not replaced\nhint: name a file\n")
    assert link.is_symlink()
    assert output.read_text() == ""


@pytest.mark.parametrize("full", ["nr_inodes=2", "size=4k"])
def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, full: str) -> None:
    """No room for another file, or for what is in it; nothing is printed, and nothing is left beside the old one."""
    needs_root()
    disk = tmp_path / "disk"
    disk.mkdir()
    script = f'mount -t tmpfs -o {full} none "$1"; cd "$1"; shift; echo old >file; "$@"; echo $?; cat file; ls -A'
    done = subprocess.run(
        [needs("unshare"), "--mount", "sh", "-c", script, "sh", str(disk), COMMAND, "--shell-file", "file"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "1\nold\nfile\n"
    assert done.stderr == (
        "anyport: the shell file file can't be written: No space left on device (errno 28)\nhint: name another one\n"
    )


def test_a_hold_that_nobody_would_learn_of_ends(tmp_path: Path) -> None:
    """The file can't be written, though it looked well: the name is too long."""
    file = "x" * 255
    done = anyport("hold", "--for", "1m", "--only", "20123", "--shell-file", file, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "can't be written: File name too long (errno 36)" in done.stderr
    assert anyport("wait", "20123", "--until", "unused", "--timeout", "20s").returncode == 0


_WRITES = """
import os, sys
from anyport._files import write_whole
print("ready", flush=True)
for port in range(10000, 13000):
    write_whole(sys.argv[1], f"WEB_PORT={port}\\nDB_PORT={port}\\n", "the shell file", "")
"""


def test_a_reader_never_sees_half(tmp_path: Path) -> None:
    """Whenever it looks there is a file, with two lines of the same writing, and none older than the last."""
    path = tmp_path / "file"
    assert anyport(*BOTH, "--shell-file", str(path)).returncode == 0
    looks, last = 0, 0
    with subprocess.Popen([sys.executable, "-c", _WRITES, str(path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout
        assert writer.stdout.readline() == "ready\n"
        while writer.poll() is None or last < 12999:
            found = LINES.fullmatch(path.read_text())
            assert found
            if found[1] == found[2]:
                assert int(found[1]) >= last
                last = int(found[1])
            looks += 1
    assert writer.returncode == 0
    assert looks > 100


def test_a_file_that_lies_where_the_new_one_is_to_be_made_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever guesses the name puts a link there, to have something overwritten: then there is no file, and no harm."""
    monkeypatch.setattr(os, "urandom", bytes)
    theirs = tmp_path / "theirs"
    theirs.write_text("precious")
    (tmp_path / "file.00000000.tmp").symlink_to(theirs)
    with pytest.raises(AnyportError, match="File exists"):
        _files.write_whole(str(tmp_path / "file"), "8080\n", "the port file", "name another one")
    assert theirs.read_text() == "precious"
    assert not (tmp_path / "file").exists()
