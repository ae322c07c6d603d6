"""Time: durations as people write them, the boot clock, and waits that double under one deadline."""

import os
import time

from anyport.errors import InvalidSelection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LONGEST = 87_600 * 3600.0  # seconds, ten years: what is longer is a slip, or means "without a limit"
_LONGEST_POLL = 3600.0  # seconds; poll(2) takes 24 days at most
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_HINT = "write it as 500ms, 30s, 10m or 24h"


def parse_duration(value: "str | float") -> float:
    """Read a number of seconds, or a text such as `500ms`, `30s`, `10m`, as seconds; InvalidSelection for all else."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = _as_float(value)
    elif isinstance(value, str):
        seconds = _parse_text(value)
    else:
        raise InvalidSelection(f"{value!r} is not a duration", hint=_HINT)
    if seconds != seconds:  # noqa: PLR0124 - NaN
        raise InvalidSelection(f"{value!r} is not a duration", hint=_HINT)
    if seconds < 0:
        raise InvalidSelection(f"the duration {value} is below its limit, 0", hint=_HINT)
    if seconds > LONGEST:
        raise InvalidSelection(
            f"the duration {value} is above its limit, {LONGEST / 3600:.0f}h (ten years)", hint=_HINT
        )
    return seconds


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        raise InvalidSelection("a duration has more digits than there is time", hint=_HINT) from None


def _parse_text(text: str) -> float:
    number = text.strip().rstrip("msh")
    unit = text.strip()[len(number) :] or "s"
    digits = number.removeprefix("-").replace(".", "", 1)
    if unit not in _UNITS or not (digits.isascii() and digits.isdecimal()):
        raise InvalidSelection(f"{text!r} is not a duration", hint=_HINT)
    return float(number) * _UNITS[unit]


def poll_time(seconds: "float | None") -> "float | None":
    """Return what select.poll takes for a wait of so many seconds: milliseconds, an hour at most; None for no limit.

    Whoever polls has to look at the clock again when it is over: the wait may have been cut short.
    """
    if seconds is None or seconds == float("inf"):
        return None
    return min(max(0.0, seconds), _LONGEST_POLL) * 1000


def boot_microseconds() -> int:
    """Return the microseconds since the machine booted, asleep or not; they never jump (clock_gettime(2)).

    They are the same in every time namespace, each of which sees the clock with an offset (time_namespaces(7)).
    """
    global _offset
    if _offset is None:
        _offset = _offset_here()
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000 - _offset


_offset: "int | None" = None


def _offset_here() -> int:
    """Return the microseconds that our time namespace adds; 0 where there is none (before 5.6), or it is not shown."""
    try:
        fd = os.open("/proc/self/timens_offsets", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        lines = os.read(fd, 4096).split(b"\n")
    except OSError:
        return 0
    finally:
        os.close(fd)
    found = next((line.split()[1:] for line in lines if line.startswith(b"boottime")), [b"0", b"0"])
    return int(found[0]) * 1_000_000 + int(found[1]) // 1000


def _forget_offset() -> None:
    """Look for the offset again in a forked child, which may be the first process of a new time namespace."""
    global _offset
    _offset = None


os.register_at_fork(after_in_child=_forget_offset)


def boot_seconds() -> float:
    """Return the seconds since the machine booted, asleep or not."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def pauses(
    limit: float, *, first: float = 0.001, longest: float = 0.05, sleep: "Callable[[float], object] | None" = None
) -> "Iterator[None]":
    """Yield at once and then after pauses that double from `first` to `longest`, until `limit` seconds are over."""
    end = time.monotonic() + limit
    pause = first
    yield
    while (left := end - time.monotonic()) > 0:
        (sleep or time.sleep)(min(pause, left))
        yield
        pause = min(pause * 2, longest)
