"""The kernel's settings, set for real in a private network namespace."""

import pytest

from anyport._linux import sysctl
from anyport._linux.socket import netns_cookie
from helpers.support import bound, private_network
from helpers.support import sysctl as write


def test_the_settings_are_those_of_the_namespace() -> None:
    """Range, reserved list (numbers and ranges), first unprivileged port."""
    with private_network((20000, 20999), reserved="8080,9000-9002"):
        assert sysctl.ip_local_port_range() == (20000, 20999)
        assert sysctl.ip_local_reserved_ports() == {8080, 9000, 9001, 9002}
        assert sysctl.ip_unprivileged_port_start() == 1024
        write("net/ipv4/ip_unprivileged_port_start", "80")
        assert sysctl.ip_unprivileged_port_start() == 80


def test_two_namespaces_are_two_even_if_one_is_gone() -> None:
    """The cookie is never used twice; the settings belong to it."""
    seen = []
    for low in (20000, 21000):
        with private_network((low, low + 99)), bound("127.0.0.1", 0) as sock:
            cookie = netns_cookie(sock)
            seen.append(cookie)
            assert sysctl.port_settings(cookie).low == low
    assert seen[0] != seen[1]


def test_settings_are_read_again_after_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not before: reading them costs two probes."""
    with private_network((20000, 20999)):
        assert sysctl.port_settings(-1).low == 20000
        write("net/ipv4/ip_local_port_range", "21000 21999")
        assert sysctl.port_settings(-1).low == 20000
        later = sysctl.port_settings(-1).read_at + 61
        monkeypatch.setattr("time.monotonic", lambda: later)
        assert sysctl.port_settings(-1).low == 21000


def test_without_proc_the_kernels_defaults_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sandbox that hides /proc/sys."""

    def hidden(name: str) -> str:
        raise FileNotFoundError(name)

    monkeypatch.setattr(sysctl, "read", hidden)
    assert sysctl.ip_local_port_range() == (32768, 60999)
    assert sysctl.ip_local_reserved_ports() == frozenset()
    assert sysctl.ip_unprivileged_port_start() == 1024


def test_before_linux_5_14_the_inode_stands_for_the_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is less: the kernel uses it again."""

    class OldSocket:
        def getsockopt(self, *_args: int) -> bytes:
            raise OSError(92, "Protocol not available")

    assert netns_cookie(OldSocket()) > 0  # type: ignore[arg-type]
    monkeypatch.setattr("os.stat", lambda _path: (_ for _ in ()).throw(FileNotFoundError()))
    assert netns_cookie(OldSocket()) == 0  # type: ignore[arg-type]
