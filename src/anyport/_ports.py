"""Port numbers: reading them, sets of them, and those that are offered to nobody."""

import os
from _operator import index
from itertools import islice

from anyport.errors import InvalidSelection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import TypeVar

    T = TypeVar("T")
    Number = tuple[str, int]  # protocol and port: which of the two spaces of numbers is meant, and which number

FIRST, LAST = 1, 65535

# "Bad ports" of the WHATWG Fetch Standard, section "Port blocking" (https://fetch.spec.whatwg.org/#port-blocking), as
# of 2026: browsers refuse to load http://host:N/ from these.
# fmt: off
BAD_PORTS = frozenset((
    1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109, 110,
    111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526, 530, 531, 532,
    540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061,
    6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
))

# Default ports of services that people run by hand, inside the quiet range.  Taking one would break nothing today and
# puzzle somebody tomorrow.  Order: Webmin, Zabbix, kubelet, memcached, Ollama, HKP, OTel, Jaeger, RabbitMQ, Redis
# cluster bus, Bedrock, Netdata, Syncthing, Fluentd, Barrier, Minecraft, CockroachDB, Sentinel, Source engine, MongoDB,
# RethinkDB, Gerrit.
SERVICES = frozenset((
    10000, 10050, 10051, 10248, 10249, 10250, 10255, 10256, 10257, 10259, 11211, 11434, 11371, 13133, 14250, 14268,
    16686, 15671, 15672, 15692, 25672, 16379, 19132, 19999, 22000, 24224, 24800, 25565, 25575, 26257, 26379, 27015,
    27017, 27018, 27019, 28017, 28015, 29015, 29418,
))
# fmt: on


def check_port(value: object, *, hint: str = "`anyport` alone gives any unused port") -> int:
    """Return the port number that `value` (an int, or its decimal text) means, or raise InvalidSelection."""
    number = whole_number(value)
    if number is None:
        raise InvalidSelection(
            f"{value!r} is not a port number: it must be a whole number from {FIRST} to {LAST}",
            hint=hint,
        )
    if not FIRST <= number <= LAST:
        raise InvalidSelection(
            f"port {number} is out of range: the limits are {FIRST} and {LAST}",
            hint=hint,
        )
    return number


def whole_number(value: object) -> "int | None":
    """Return the int that `value` is, or is the decimal text of; None for anything else."""
    if isinstance(value, str):
        text = value.strip()
        digits = text.removeprefix("-")
        return int(text) if digits.isascii() and digits.isdecimal() and len(digits) <= 20 else None
    try:
        return None if isinstance(value, bool) else index(value)  # type: ignore[arg-type]
    except TypeError:
        return None


class PortSet:
    """A set of port numbers as disjoint ascending ranges; `named` are those that were written one by one."""

    __slots__ = ("named", "ranges")

    def __init__(self, ranges: "Iterable[range]" = ()) -> None:
        parts = sorted((part for part in ranges if part), key=lambda part: part.start)
        self.named = frozenset(part.start for part in parts if len(part) == 1)
        merged: list[range] = []
        for part in parts:
            if merged and part.start <= merged[-1].stop:
                merged[-1] = range(merged[-1].start, max(merged[-1].stop, part.stop))
            else:
                merged.append(part)
        self.ranges = tuple(merged)

    def __contains__(self, port: int) -> bool:
        return any(port in part for part in self.ranges)

    def __iter__(self) -> "Iterator[int]":
        for part in self.ranges:
            yield from part

    def __len__(self) -> int:
        return sum(len(part) for part in self.ranges)

    def __str__(self) -> str:
        return ",".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in self.ranges)


def parse_ports(value: "str | Iterable[int]") -> PortSet:
    """Return the set that `7002-7011,8000`, a `range` or an iterable of ints means, or raise InvalidSelection."""
    if isinstance(value, str):
        return PortSet(_parse_part(part, value) for part in value.split(","))
    if isinstance(value, range) and value:  # both ends first: one of a billion numbers is not to be listed
        first, last = check_port(value[0]), check_port(value[-1])
        if value.step == 1:
            return PortSet([range(first, last + 1)])
    return PortSet(range(port, port + 1) for port in map(check_port, items(value, "set of ports", hint=_LIST_HINT)))


def items(value: "Iterable[T]", what: str, *, hint: str) -> "list[T]":
    """List what a caller gave as an iterable, of which there may be as many as there are ports, but no more.

    InvalidSelection for what can't be iterated, and for what has more items, or no end.
    """
    try:
        found = list(islice(iter(value), LAST + 1))
    except TypeError:
        raise InvalidSelection(f"{value!r} is no {what}", hint=hint) from None
    if len(found) > LAST:
        raise InvalidSelection(f"a {what} with more than {LAST} items: there are no more ports than that", hint=hint)
    return found


_LIST_HINT = "write numbers and ranges with commas between them, such as 7002-7011,8000"


def _parse_part(part: str, whole: str) -> range:
    if not part.strip():
        raise InvalidSelection(f"{whole!r} has an empty place in its list of ports", hint=_LIST_HINT)
    first, dash, last = part.strip().partition("-")
    if dash and not last.strip():
        raise InvalidSelection(f"the range {part.strip()} has no end", hint=_LIST_HINT)
    try:
        if not dash or not first:  # "-5" is a negative number, not a range
            port = check_port(part)
            return range(port, port + 1)
        low, high = check_port(first), check_port(last)
    except InvalidSelection as error:
        raise InvalidSelection(str(error), hint=_LIST_HINT) from None
    if high < low:
        raise InvalidSelection(f"the range {part.strip()} ends before it begins", hint=f"write {high}-{low}")
    return range(low, high + 1)


# Above what people type by hand, below Kubernetes' NodePorts (30000-32767) and the default ephemeral range (32768-).
QUIET = range(10000, 30000)


# A step that visits each of 20,000 = 2**5 * 5**4 numbers once must be odd and no multiple of 5.  This one lies near
# 20,000 / golden ratio, so numbers given in a row lie far apart: a program that takes `port + 1` as well does not meet
# the next caller.
_STEP = 12361


_SIZE = len(QUIET)


_STEP_BACK = pow(_STEP, -1, _SIZE)


def quiet_at(turn: int) -> int:
    """Return the number whose turn it is: for turn = 0, 1, ... 19,999 each of 10000-29999 once, and then over again."""
    return QUIET.start + turn * _STEP % _SIZE


def turn_of(port: int) -> int:
    """Return the turn of a number of 10000-29999, at which `quiet_at` has it."""
    return (port - QUIET.start) * _STEP_BACK % _SIZE


def shuffled(numbers: "list[T]", chance: "Callable[[int], bytes]" = os.urandom) -> "Iterator[T]":
    """Yield the numbers in random order, drawn one at a time (Fisher and Yates); `numbers` is used up."""
    for left in range(len(numbers), 0, -1):
        at = int.from_bytes(chance(8), "little") % left
        numbers[at], numbers[left - 1] = numbers[left - 1], numbers[at]
        yield numbers[left - 1]
