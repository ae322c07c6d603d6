import pytest
from talking import COMMAND

from suite import answer


@pytest.fixture(scope="module")
def talker(module_run_on_port):
    return module_run_on_port(COMMAND)


def test_first(talker):
    assert answer(talker.port) == b"0"


def test_passes(talker):
    answer(talker.port)


def test_last(talker):
    assert answer(talker.port) == b"0"


def test_other():
    assert False


def test_silent(talker):
    assert False
