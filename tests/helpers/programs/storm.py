import socket
import sys
import time

import anyport


def bind_and_close():
    with socket.socket() as sock:
        sock.bind(("", 0))
        return sock.getsockname()[1]


method = {"find": anyport.find, "bind-and-close": bind_and_close}[sys.argv[1]]
reuse, rounds, lost = sys.argv[2] == "reuse", int(sys.argv[3]), 0
for _ in range(rounds):
    try:
        port = method()
    except OSError:
        lost += 1
        continue
    time.sleep(0.005)  # what a server needs to start
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(reuse))
        try:
            server.bind(("", port))
            server.listen()
        except OSError:
            lost += 1
print(lost)
