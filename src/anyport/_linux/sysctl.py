"""proc_sys_net(5) and Documentation/networking/ip-sysctl.rst: which ports the kernel itself gives away or keeps.

It also has random(4): which boot this is.
"""

import os
import time

_REREAD = 60.0  # seconds; reading costs 24 us, two probes' worth, and the settings hardly ever change

# include/net/netns/ipv4.h and net/ipv4/af_inet.c: what a new network namespace starts with
_DEFAULT_RANGE = (32768, 60999)
_DEFAULT_UNPRIVILEGED_START = 1024


def read(name: str, root: str = "/proc/sys") -> str:
    """Read the text of one setting; OSError where /proc does not show it."""
    return read_whole(f"{root}/{name}").decode("ascii", "replace").strip()


def read_whole(path: str) -> bytes:
    """Read a file of /proc, whose size is told by nothing but its end."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts: list[bytes] = []
        while part := os.read(fd, 65536):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(fd)


class PortSettings:
    """The kernel's settings about ports: the ephemeral range (both ends included), reserved ports, first free one."""

    __slots__ = ("high", "low", "read_at", "reserved")

    def __init__(self, low: int, high: int, reserved: "frozenset[int]") -> None:
        self.low = low
        self.high = high
        self.reserved = reserved
        self.read_at = time.monotonic()

    def is_ephemeral(self, port: int) -> bool:
        return self.low <= port <= self.high


def ip_unprivileged_port_start() -> int:
    try:
        return int(read("net/ipv4/ip_unprivileged_port_start"))
    except (OSError, ValueError):
        return _DEFAULT_UNPRIVILEGED_START


def ip_local_reserved_ports() -> "frozenset[int]":
    """Return the ports that neither bind(0) nor connect() pick; they are set as a list such as `8080,9000-9010`."""
    ports: set[int] = set()
    for part in _read_or("net/ipv4/ip_local_reserved_ports", "").split(","):
        if part.strip():
            first, _, last = part.partition("-")
            ports.update(range(int(first), int(last or first) + 1))
    return frozenset(ports)


def ip_local_port_range() -> "tuple[int, int]":
    """Return the ephemeral range, both ends included."""
    words = _read_or("net/ipv4/ip_local_port_range", "").split()
    return (int(words[0]), int(words[1])) if len(words) == 2 else _DEFAULT_RANGE


def _read_or(name: str, default: str) -> str:
    # A sandbox without /proc/sys still has the kernel's defaults, most likely; there is nothing better to know.
    try:
        return read(name)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return default


def boot_word() -> int:
    """Return 32 bits that differ from boot to boot; 0 where /proc does not show them, which matches any."""
    try:
        return int(read("kernel/random/boot_id")[:8], 16)
    except (FileNotFoundError, NotADirectoryError, PermissionError, ValueError):
        return 0


_seen: "dict[int, PortSettings]" = {}


def port_settings(namespace: int) -> PortSettings:
    """Return the settings of the network namespace with this cookie, the caller's; they are read again each minute."""
    settings = _seen.get(namespace)
    if settings is None or time.monotonic() - settings.read_at > _REREAD:
        settings = PortSettings(*ip_local_port_range(), ip_local_reserved_ports())
        _seen.clear()  # a process that goes from namespace to namespace must not collect them
        _seen[namespace] = settings
    return settings
