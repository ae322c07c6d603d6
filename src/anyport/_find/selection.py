"""The selection: which ports may be answered, as the caller put it, checked before any system call."""

from anyport._address import TCP, UDP
from anyport._clock import parse_duration
from anyport._ports import LAST, PortSet, check_port, items, parse_ports, whole_number
from anyport.errors import InvalidSelection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import TypedDict

    class _Options(TypedDict, total=False):
        """The options that `find`, `hold` and `run` have in common, for one port or several."""

        only: bool
        ephemeral: bool
        from_: "int | None"
        in_: "str | Iterable[int] | None"
        order: "str | None"
        name: "str | None"
        here: bool
        exclude: "str | Iterable[int] | None"
        host: "str | Iterable[str] | None"
        tcp: bool
        udp: bool
        keep: "float | str"
        strict: bool

    class OneOptions(_Options, total=False):
        """The options of `find` and `hold`, which give one port."""

        as_: "str | None"

    class ManyOptions(_Options, total=False):
        """The options of `find_many`, `hold_many` and `run`, which give several."""

        as_: "str | Iterable[str] | None"
        contiguous: bool


KEEP = 60.0  # seconds
LONGEST_KEEP = 24 * 3600.0
_ORDERS = ("random", "ascending")


class Selection:
    """A checked question.  `base` says where candidates come from once the preferred numbers are used up."""

    def __init__(  # noqa: PLR0913 - the one place where all options come together
        self,
        port: "int | str | Iterable[int | str] | None" = None,
        *,
        count: "int | str | None" = None,
        only: bool = False,
        ephemeral: bool = False,
        from_: "int | str | None" = None,
        in_: "str | Iterable[int] | None" = None,
        order: "str | None" = None,
        name: "str | None" = None,
        here: bool = False,
        as_: "str | Iterable[str] | None" = None,
        contiguous: bool = False,
        exclude: "str | Iterable[int] | None" = None,
        host: "str | Iterable[str] | None" = None,
        tcp: bool = False,
        udp: bool = False,
        keep: "float | str" = KEEP,
        strict: bool = False,
    ) -> None:
        self.preferred = _preferred(port)
        self.only, self.here, self.contiguous, self.strict = only, here, contiguous, strict
        self.start = None if from_ is None else check_port(from_)
        self.ports = None if in_ is None else _not_empty(parse_ports(in_))
        self.order = _check_order(order, self.ports)
        self.name = None if name is None else _check_name(name)
        self.labels = _check_labels(as_)
        self.exclude = PortSet() if exclude is None else parse_ports(exclude)
        self.hosts = _check_hosts(host)
        self.kinds = (TCP, UDP) if tcp and udp else (UDP,) if udp else (TCP,)
        self.keep = _check_keep(keep)
        self.base = _one_base(ephemeral=ephemeral, start=self.start, ports=self.ports, name=name, here=here)
        self.count = self._check_count(count)
        self._check_together()

    @property
    def is_plain(self) -> bool:
        """Tell whether nothing is asked for but how many: what a portserver can serve, which takes no wishes."""
        return (
            self.base == "quiet"
            and not (self.preferred or self.contiguous or self.strict or self.exclude or self.hosts)
            and self.keep == KEEP
        )

    def _check_count(self, count: "int | str | None") -> int:
        number = len(self.labels) or 1 if count is None else whole_number(count)
        if number is None or not 1 <= number <= LAST:
            raise InvalidSelection(
                f"{count!r} is no number of ports: the limits are 1 and {LAST}", hint="-n 3 asks for three ports"
            )
        if self.labels and number != len(self.labels):
            raise InvalidSelection(f"{number} ports and {len(self.labels)} labels don't go together")
        return number

    def _check_together(self) -> None:
        if self.only and self.base != ("quiet" if self.preferred else "name"):
            raise InvalidSelection(
                "--only goes with numbers, or with --name or --here, and with nothing else to choose from",
                hint="anyport --only 8080",
            )
        if self.only and self.preferred and all(port in self.exclude for port in self.preferred):
            raise InvalidSelection(
                f"--only {self.preferred[0]}, and --exclude has it: nothing is left", hint="leave one of them out"
            )
        if self.only and self.contiguous and min(self.preferred) + self.count - 1 > LAST:
            raise InvalidSelection(
                f"{self.count} ports in a row from {min(self.preferred)} on would end above the limit {LAST}",
                hint="begin lower, or ask for fewer",
            )
        most = LAST
        if self.only and not self.contiguous:
            most = len(self.preferred) or max(1, len(self.labels))
        elif self.ports is not None:
            most = len({*self.ports, *self.preferred})
        elif self.start is not None:
            most = LAST - self.start + 1 + sum(port < self.start for port in self.preferred)
        if self.count > most:
            raise InvalidSelection(
                f"{self.count} ports out of {most}: there are too few to choose from", hint="ask for fewer, or widen it"
            )
        if self.contiguous and self.base in ("ephemeral", "name"):
            raise InvalidSelection(
                "--contiguous does not go with --ephemeral, --name and --here, which give single numbers",
                hint="anyport --in 40000-49999 --contiguous -n 3",
            )
        if self.preferred and self.labels and self.base == "name":
            raise InvalidSelection(
                "numbers and labels of a name don't go together", hint="leave the numbers or the labels out"
            )


_FOR_MANY = frozenset(Selection.__init__.__kwdefaults__ or ()) - {"count"}
_FOR_ONE = _FOR_MANY - {"contiguous"}


def select_one(verb: str, port: "int | Iterable[int] | None", options: "OneOptions") -> Selection:
    """Return the selection that a function of the library was called for, which gives one port.

    TypeError names an option that it does not have.
    """
    _check_names(verb, options, _FOR_ONE)
    return Selection(port, count=1, **options)


def select_many(
    verb: str, count: "int | None", port: "int | Iterable[int] | None", options: "ManyOptions"
) -> Selection:
    """Return the selection that a function of the library was called for, which gives several ports.

    TypeError names an option that it does not have.
    """
    _check_names(verb, options, _FOR_MANY)
    return Selection(port, count=count, **options)


def _check_names(verb: str, options: "Mapping[str, object]", known: "frozenset[str]") -> None:
    for name in options:
        if name not in known:
            raise TypeError(f"{verb}() got an unexpected keyword argument {name!r}")


def _preferred(port: "int | str | Iterable[int | str] | None") -> "tuple[int, ...]":
    if port is None:
        return ()
    if isinstance(port, (int, str)) or not hasattr(port, "__iter__"):
        return (check_port(port),)
    return tuple(dict.fromkeys(map(check_port, items(port, "list of ports", hint="anyport.find([8080, 8081])"))))


def _not_empty(ports: PortSet) -> PortSet:
    if not ports:
        raise InvalidSelection("the set of ports to choose from is empty", hint="write it as 7002-7011,8000")
    return ports


def _check_order(order: "str | None", ports: "PortSet | None") -> str:
    if order is None:
        return "random"
    if order not in _ORDERS:
        raise InvalidSelection(f"{order!r} is no order: it is {' or '.join(_ORDERS)}")
    if ports is None:
        raise InvalidSelection("--order is for the numbers of --in", hint="anyport --in 7002-7011 --order ascending")
    return order


def _check_name(name: str) -> str:
    if not isinstance(name, str) or not name or "\0" in name or not _has_bytes(name):
        raise InvalidSelection(
            f"{name!r} is no name: that is a text of at least one character, and none of them NUL", hint="--name web"
        )
    return name


def _has_bytes(text: str) -> bool:
    """Tell whether the text can be written down: half of a pair of surrogates, which Python allows, can't."""
    try:
        return bool(text.encode("utf-8", "surrogateescape"))  # which bytes of a command line become
    except UnicodeEncodeError:
        return False


def variable(label: str) -> str:
    """Return the environment variable that a label stands for: `web` is WEB_PORT."""
    return label.upper().replace("-", "_") + "_PORT"


def _check_labels(labels: "str | Iterable[str] | None") -> "tuple[str, ...]":
    if labels is None:
        return ()
    found = (labels,) if isinstance(labels, str) else tuple(items(labels, "list of labels", hint="--as web"))
    for label in found:
        plain = isinstance(label, str) and label.replace("-", "_")
        if not plain or not plain.isascii() or not plain.isidentifier():
            raise InvalidSelection(f"{label!r} is no label: letters, digits, - and _, no digit first", hint="--as web")
    if len({variable(label) for label in found}) < len(found):
        raise InvalidSelection(f"two of the labels {', '.join(found)} mean the same variable")
    return found


def _check_hosts(host: "str | Iterable[str] | None") -> "tuple[str, ...]":
    if host is None:
        return ()
    hint = "name one such as 127.0.0.1, ::1 or localhost"
    hosts = (host,) if isinstance(host, (str, bytes)) else items(host, "host", hint=hint)
    for each in hosts:
        if not isinstance(each, str) or not each.strip() or "\0" in each:
            raise InvalidSelection(f"{each!r} is no host", hint=hint)
    return tuple(dict.fromkeys(_bare(each.strip()) for each in hosts))


def _bare(host: str) -> str:
    """Return the host without brackets: `::1` of `[::1]`."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def _check_keep(keep: "float | str") -> float:
    seconds = parse_duration(keep)
    if seconds > LONGEST_KEEP:
        raise InvalidSelection(f"a claim of {keep} is above its limit, 24h", hint="--keep 24h is the longest")
    return seconds


def _one_base(*, ephemeral: bool, start: "int | None", ports: "PortSet | None", name: "str | None", here: bool) -> str:
    wanted = {
        "--ephemeral": ephemeral, "--from": start is not None, "--in": ports is not None,
        "--name": name is not None, "--here": here,
    }  # fmt: skip
    given = [option for option, is_given in wanted.items() if is_given]
    if len(given) > 1:
        raise InvalidSelection(f"{' and '.join(given)} can't be used together", hint="leave one of them out")
    if not given:
        return "quiet"
    return "name" if given[0] in ("--name", "--here") else given[0][2:]
