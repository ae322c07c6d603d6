import os
import signal
import socket
import sys

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
port, *words = sys.argv[1:]
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int("reuse" in words))
server.bind(("127.0.0.1", int(port)))
server.listen()
while True:
    connection, _ = server.accept()
    connection.sendall(b"%d" % os.getpid())
    connection.close()
