import os
import socket
import sys

kind = socket.SOCK_STREAM if sys.argv[1] == "tcp" else socket.SOCK_DGRAM
server = socket.socket(type=kind)
if sys.argv[2] == "serving":
    server.bind(("127.0.0.1", int(os.environ["PORT"])))
    if sys.argv[1] == "tcp":
        server.listen()
print(os.environ["PORT"], flush=True)
sys.stdin.read()
