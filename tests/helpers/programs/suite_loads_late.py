import sys


def loaded():
    return sorted(name for name in sys.modules if name.startswith("anyport"))


def test_unused():
    assert loaded() == ["anyport", "anyport.pytest_plugin"]


def test_used(unused_port):
    assert "anyport._find.find" in loaded()
    assert "anyport._run.run" not in loaded()
