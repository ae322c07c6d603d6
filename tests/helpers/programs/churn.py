import os
import socket
import sys

server = socket.create_server(("127.0.0.1", 0 if sys.argv[1] == "ephemeral" else int(sys.argv[1])))
print("ready", flush=True)
held = []
while os.getppid() != 1:
    try:
        sock = socket.socket()
        if len(held) % 2:
            sock.bind(("", 0))
        else:
            sock.connect(server.getsockname())
            server.accept()[0].close()
        held.append(sock)
    except OSError:
        sock.close()
    if len(held) > 25:
        held.pop(0).close()
