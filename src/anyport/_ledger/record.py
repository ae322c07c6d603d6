"""The ledger's bytes (pure: no file, no clock).

65,536 slots of 16 bytes, little-endian, 1 MiB in all, sparse.  Each port has one:

    deadline << 8 | kind    8 bytes; microseconds on the boot clock; all 0 = never claimed
    owner                   8 bytes; of kind GIVEN: when it was given out, in microseconds;
                            of kind NAME: when, in seconds (4 bytes), and the name's hash (4 bytes);
                            of kind PROCESS: the process that the number was given to, see `pack_process`

Port N has slot N, but those of 10000-29999 stand in the order of their turns, so that the next ones lie side by side
and are read and written in one call.  There is no port 0; slot 0 is the header:

    magic and version       4 bytes
    boot                    4 bytes, of the boot id: deadlines of another boot mean nothing
    turn                    4 bytes: how far the quiet range has been given out; then 4 bytes of 0

Rules for whoever edits this: the kind of a record may be new to an older version, which takes it for claimed.  A
deadline further away than LONGEST is noise, not a claim.  A change that an older version would misread needs a new
VERSION; it stands in the file's name too, so that two versions do not repair each other's ledger away.
"""

import struct

from anyport._ports import QUIET, quiet_at, turn_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Lives = Callable[[int], bool]

VERSION = 1
SLOT = 16
WHOLE = 65536 * SLOT
LONGEST = 24 * 3600 * 1_000_000 + 1_000_000  # microseconds: the longest claim, and a second between reading two clocks
NOTHING = bytes(SLOT)

GIVEN, NAME, PROCESS = 1, 2, 3

MAGIC = b"apl"
_MAGIC_AND_VERSION = MAGIC + bytes([VERSION])
_header = struct.Struct("<4sIII")
_record = struct.Struct("<QQ")
_PROCESS = bytes([PROCESS])


def pack_header(boot: int, turn: int) -> bytes:
    return _header.pack(_MAGIC_AND_VERSION, boot, turn, 0)


def unpack_header(data: bytes, boot: int) -> "int | None":
    """Return the turn, or None if this is no header of ours, or one of another boot (0: which is not known)."""
    if len(data) != SLOT:
        return None
    magic, of_boot, turn, _ = _header.unpack(data)
    return turn % len(QUIET) if magic == _MAGIC_AND_VERSION and (of_boot == boot or not (of_boot and boot)) else None


def no_header(data: bytes) -> str:
    """Say why this is no header of ours, of whatever boot, or an empty text: it may be somebody's data."""
    if len(data) != SLOT or not data.startswith(MAGIC) or data[12:] != bytes(4):
        return "it holds something else"
    return "" if data[3] == VERSION else f"it is a ledger of version {data[3]}, and this anyport writes {VERSION}"


def offset(port: int) -> int:
    """Return where in the file the port's record begins."""
    return (QUIET.start + turn_of(port) if port in QUIET else port) * SLOT


def offset_of_turn(turn: int) -> int:
    return (QUIET.start + turn) * SLOT


def record_in(slots: bytes, port: int) -> bytes:
    """Return one port's record out of the whole file."""
    at = offset(port)
    return slots[at : at + SLOT]


def name_owner(name: int, now: int) -> int:
    """Return the owner field of a claim of kind NAME."""
    return name << 32 | now // 1_000_000


def pack_claim(deadline: int, kind: int, owner: int) -> bytes:
    return _record.pack(deadline << 8 | kind, owner)


def is_claimed(data: bytes, now: int, name: int = 0) -> bool:
    """Tell whether the record is a claim at `now`, and not one by this name (0: nobody's)."""
    if data == NOTHING or len(data) != SLOT:
        return False
    word, owner = _record.unpack(data)
    if not now < word >> 8 <= now + LONGEST:
        return False
    return not (name and word & 0xFF == NAME and owner >> 32 == name)


def pack_process(pid: int, started: int, namespace: int) -> int:
    """Return the owner field of a claim of kind PROCESS.

    It has 22 bits of the pid (/proc/sys/kernel/pid_max is at most 2**22), 32 of when the process started in clock ticks
    since boot, and 10 of what its pid namespace is known by.
    """
    return (pid & 0x3FFFFF) << 42 | (started & 0xFFFFFFFF) << 10 | namespace & 0x3FF


def unpack_process(owner: int) -> "tuple[int, int, int]":
    """Return the pid, when it started and the pid namespace, as far as they were kept."""
    return owner >> 42, owner >> 10 & 0xFFFFFFFF, owner & 0x3FF


def process_of(data: bytes) -> int:
    """Return the owner field of a record of kind PROCESS, or 0."""
    return int.from_bytes(data[8:], "little") if data[:1] == _PROCESS else 0


def claims_in(slots: bytes, now: int, lives: "Lives") -> "dict[int, int]":
    """Return when each port with a claim was given out, from the bytes of the whole file, most of which are 0.

    `lives` says of the owner field of a claim of kind PROCESS whether that process does; if not, it is no claim.
    """
    found: dict[int, int] = {}
    for slot, (word, owner) in enumerate(_record.iter_unpack(slots)):
        if word and slot and now < word >> 8 <= now + LONGEST and (word & 0xFF != PROCESS or lives(owner)):
            port = quiet_at(slot - QUIET.start) if slot in QUIET else slot
            found[port] = owner if word & 0xFF == GIVEN else _when(word & 0xFF, owner, word >> 8)
    return found


def claims_by_turn(slots: bytes, now: int, lives: "Lives") -> "list[tuple[int, int, int]]":
    """Return (when given, port, deadline) of each claimed number of 10000-29999, in the order of turns."""
    first = offset_of_turn(0)
    claims = enumerate(claims_in_row(slots[first : first + len(QUIET) * SLOT], now, lives))
    return [(given, quiet_at(turn), deadline) for turn, (given, deadline) in claims if deadline]


def claims_in_row(data: bytes, now: int, lives: "Lives") -> "Iterator[tuple[int, int]]":
    """Yield (when given, deadline) of each of these records; (0, 0) for one that is no claim.

    `lives` says of the owner field of a claim of kind PROCESS whether that process does; if not, it is no claim.
    """
    last = now + LONGEST
    for word, owner in _record.iter_unpack(data):
        deadline, kind = word >> 8, word & 0xFF
        if now < deadline <= last and (kind != PROCESS or lives(owner)):
            yield owner if kind == GIVEN else _when(kind, owner, deadline), deadline
        else:
            yield 0, 0


def claims_lacking(old: bytes, new: bytes, now: int, lives: "Lives") -> "Iterator[tuple[int, bytes]]":
    """(where it stands, record) of each claim in one whole ledger that is none in another."""
    for at, (word, owner) in enumerate(_record.iter_unpack(old[: len(old) - len(old) % SLOT])):
        if word and at and now < word >> 8 <= now + LONGEST and (word & 0xFF != PROCESS or lives(owner)):
            there = new[at * SLOT : at * SLOT + SLOT]
            if not is_claimed(there, now) or (process_of(there) and not lives(process_of(there))):
                yield at * SLOT, old[at * SLOT : at * SLOT + SLOT]


def deadline_of(data: bytes) -> int:
    return int.from_bytes(data[1:8], "little")


def name_of(data: bytes) -> int:
    """Return the hash of the name that a record is a claim for, or 0."""
    return int.from_bytes(data[12:], "little") if data[0] == NAME else 0


def given_at(data: bytes) -> int:
    """Return when a claimed number was given out, for finding the one given longest ago."""
    owner = int.from_bytes(data[8:], "little")
    return owner if data[0] == GIVEN else _when(data[0], owner, deadline_of(data))


def _when(kind: int, owner: int, deadline: int) -> int:
    # Of kind PROCESS, and of one that is not known yet, no more is known than the deadline, which makes it the newest.
    return (owner & 0xFFFFFFFF) * 1_000_000 if kind == NAME else deadline
