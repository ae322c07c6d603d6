"""The portserver protocol of google/python_portpicker: one connection for each port.

The client sends the pid of the process that is to have the port and a newline, the server answers with the port and a
newline, or with an empty line.  `wire` is its bytes, `client` asks; for the server `pool` has the numbers, `owners` the
processes, `listener` the socket that is listened on, `connection` what one client says and is told.
"""

import os

VARIABLE = "PORTSERVER_ADDRESS"


def address() -> str:
    """Where the server is that this process shall ask, or an empty text."""
    return os.environ.get(VARIABLE, "")
