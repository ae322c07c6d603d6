"""The portserver protocol of google/python_portpicker: one connection for each port.

The client sends the pid of the process that is to have the port and a newline, the server answers with the port and a
newline, or with an empty line.  `wire` is its bytes, `client` asks.
"""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

VARIABLE = "PORTSERVER_ADDRESS"

# os.environ looks up a name that is not there in 0.6 us, for it encodes it and raises twice: a fifth of what a plain
# bind(0) loop takes.  So first a look into the dict that it keeps; where there is none, this says "perhaps".
_ENVIRON, _KEY = os.environ, VARIABLE.encode()
_KEYS: "Collection[bytes]" = getattr(_ENVIRON, "_data", {_KEY})


def address() -> str:
    """Where the server is that this process shall ask, or an empty text."""
    if _KEY not in _KEYS and os.environ is _ENVIRON:  # a test may have put another one in its place
        return ""
    return os.environ.get(VARIABLE, "")
