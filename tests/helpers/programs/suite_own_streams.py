import subprocess
from pathlib import Path

from talking import COMMAND


def test_files(run_on_port):
    with open("out", "w") as out:
        run_on_port(COMMAND, stdout=out, stderr=subprocess.STDOUT)
    assert Path("out").read_text() == "first, second, third\n"
    assert False


def test_none(run_on_port):
    run_on_port(COMMAND, stdout=None, stderr=None)
    assert False


def test_half(run_on_port):
    run_on_port(COMMAND, stdout=subprocess.DEVNULL)
    assert False
