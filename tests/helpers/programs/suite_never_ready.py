import pytest

import anyport


@pytest.fixture(scope="module")
def never(module_run_on_port):
    return module_run_on_port(["sh", "-c", "echo no such database >&2; exit 3"])


def test_one(never):
    pass


def test_two(never):
    pass


def test_three(run_on_port):
    with pytest.raises(anyport.NotReady):
        run_on_port(["sh", "-c", "echo too old >&2; exit 3"])
    assert False
