"""What a program finds around it under `anyport run`, as if started directly: descriptors, group, environment."""

import fcntl
import os
import subprocess
from itertools import product
from pathlib import Path
from signal import SIGTERM

import pytest

from helpers.support import COMMAND, needs, program
from helpers.terminal import PYTHON, RUN, both, started, status_lines, witness

LIST = program("surroundings.py")


@pytest.mark.parametrize("closed", list(map(" ".join, product(("", "<&-"), ("", ">&-"), ("", "2>&-")))))
def test_the_program_has_the_callers_descriptors_and_no_other(closed: str, tmp_path: Path) -> None:
    """Standard streams, those that are closed too, and what is passed on purpose."""
    listings = []
    with (tmp_path / "passed").open("w") as file:
        high = fcntl.fcntl(file, fcntl.F_DUPFD, 50)
        script = f'exec "$@" {closed}'
        for before in ((), RUN):
            subprocess.run(
                [needs("sh"), "-c", script, "sh", *before, *PYTHON, LIST, str(tmp_path / "list")],
                pass_fds=[file.fileno(), high], stdin=file, stdout=file, stderr=file, check=True,
            )  # fmt: skip
            listings.append((tmp_path / "list").read_text().splitlines())
        os.close(high)
    assert listings[0] == listings[1]
    assert len(listings[0]) == 5 - len(closed.split())


def test_group_session_and_folder_are_the_callers(tmp_path: Path) -> None:
    """And the priority, the umask and the limits."""
    code = """
import os, resource
umask = os.umask(0)
limits = [resource.getrlimit(n) for n in range(16)]
print(os.getpgrp(), os.getsid(0), os.getcwd(), os.nice(0), umask, limits, os.sched_getaffinity(0))
"""
    direct, run = both(*PYTHON, code, cwd=tmp_path)
    assert run.stdout == direct.stdout != ""


@pytest.mark.parametrize("locale", ["", "LC_ALL=C", "LANG=C.UTF-8", "LC_CTYPE=C.UTF-8", "LANG=POSIX"])
def test_the_environment_has_the_port_besides_and_nothing_else(locale: str, ledger: Path) -> None:
    """Bytes that are no text pass too."""
    variables = {"PATH": os.environ["PATH"], "ANYPORT_LEDGER": str(ledger), "BYTES": "\udcff"}
    if locale:
        variables |= {locale.split("=", maxsplit=1)[0]: locale.split("=")[1]}
    show = needs("env")
    direct, run = (
        subprocess.run([*before, show, "-0"], env=variables, capture_output=True, check=True) for before in ((), RUN)
    )
    lines = [set(done.stdout.split(b"\0")) for done in (direct, run)]
    assert not lines[0] - lines[1]
    assert [line.split(b"=")[0] for line in lines[1] - lines[0]] == [b"PORT"]


def test_the_runner_writes_nothing_of_its_own() -> None:
    """Of a program that ends well, and one that is ended."""
    direct, run = both(needs("sh"), "-c", "echo out; echo err >&2")
    assert (run.stdout, run.stderr) == (direct.stdout, direct.stderr) == ("out\n", "err\n")
    direct, run = both(needs("sh"), "-c", "echo out; echo err >&2; kill -TERM $$")
    assert (run.stdout, run.stderr, run.returncode) == (direct.stdout, direct.stderr, -SIGTERM)


def test_the_runner_is_small() -> None:
    """Below 18 MiB while the program runs."""
    with started(*RUN, *witness) as runner:
        runner.signals(runner.number())
        (size,) = status_lines(runner.pid, "VmRSS")
        assert int(size.removesuffix(" kB")) < 18 * 1024
        assert Path(f"/proc/{runner.pid}/cmdline").read_bytes().split(b"\0")[1] == COMMAND.encode()
