"""The portserver protocol of google/python_portpicker: one connection for each port.

The client sends the pid of the process that is to have the port and a newline, the server answers with the port and a
newline, or with an empty line.  `wire` is its bytes, `client` asks.
"""

import os

VARIABLE = "PORTSERVER_ADDRESS"


def address() -> str:
    """Return where the server is that this process shall ask, or an empty text."""
    return os.environ.get(VARIABLE, "")
