"""The protocol's bytes, and how the address of a portserver is written (pure: no socket)."""

from anyport._ports import FIRST, LAST
from anyport.errors import InvalidSelection

LONGEST = 20  # bytes of a request; portpicker's own server takes no more either
MOST = 64  # bytes of an answer

_SUN_PATH = 108  # bytes (unix(7)); a path ends with NUL, an abstract name may use them all


class Garbage(ValueError):
    """These bytes are neither a request nor the beginning of one, or no answer."""


def sun_path(address: str) -> bytes:
    """Return what bind and connect take for an address: a path, or `@name` for an abstract one (unix(7))."""
    path = address.encode("utf-8", "surrogateescape")
    if path[:1] == b"@":
        path = b"\0" + path[1:]
    what = f"{address!r} is no address of a portserver"
    if path in (b"", b"\0") or b"\0" in path[1:]:
        raise InvalidSelection(f"{what}: it has no name", hint="write it as @name, or as the path of a socket")
    limit = _SUN_PATH - (path[0] != 0)
    if len(path) > limit:
        raise InvalidSelection(f"{what}: it has {len(path)} bytes, and the limit is {limit}", hint="name a shorter one")
    return path


def written(path: "str | bytes") -> str:
    """Write the address that getsockname gives as `sun_path` reads it."""
    text = path.decode("utf-8", "surrogateescape") if isinstance(path, bytes) else path
    return f"@{text[1:]}" if text.startswith("\0") else text


def request(pid: int) -> bytes:
    return b"%d\n" % pid


def read_request(data: bytes) -> "int | None":
    """Return the pid, or None while the line is not whole; Garbage if it will never be a request."""
    line, newline, _ = data.partition(b"\n")
    if not newline and len(data) <= LONGEST:
        return None
    word = line.strip()
    if len(line) > LONGEST or not word.isdigit():
        raise Garbage(data)
    return int(word)


def answer(port: int) -> bytes:
    """Return the answer's line; an empty one for 0: no port."""
    return b"%d\n" % port if port else b"\n"


def read_answer(data: bytes) -> int:
    """Return the port, or 0 if the server gives none, which some say by 0 or by nothing; Garbage for all else."""
    word = data.partition(b"\n")[0].strip()
    if word in (b"", b"0"):
        return 0
    if not word.isdigit() or len(word) > 5 or not FIRST <= int(word) <= LAST:
        raise Garbage(data)
    return int(word)
