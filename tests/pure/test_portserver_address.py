"""Which portserver is asked, as the environment says at this moment."""

import os
import subprocess
import sys

import pytest

from anyport import _portserver


def test_it_is_what_the_environment_says_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """However it came to say so, and if nothing, none."""
    monkeypatch.delenv("PORTSERVER_ADDRESS", raising=False)
    assert _portserver.address() == ""
    monkeypatch.setenv("PORTSERVER_ADDRESS", "@one")
    assert _portserver.address() == "@one"
    os.environb[b"PORTSERVER_ADDRESS"] = b"@two"
    assert _portserver.address() == "@two"
    del os.environ["PORTSERVER_ADDRESS"]
    assert _portserver.address() == ""


def test_an_environment_in_the_place_of_the_real_one_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As tests put it there."""
    monkeypatch.setattr(os, "environ", {"PORTSERVER_ADDRESS": "@three"})
    assert _portserver.address() == "@three"
    monkeypatch.setattr(os, "environ", {})
    assert _portserver.address() == ""


def test_it_does_not_hang_on_how_python_keeps_the_environment() -> None:
    """Only the speed does."""
    code = "import os\nos.environ = dict(os.environ)\nfrom anyport import _portserver\nprint(_portserver.address())"
    for environ, shown in ({"PORTSERVER_ADDRESS": "@four"}, "@four\n"), ({}, "\n"):
        done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
        assert done.stdout == shown
