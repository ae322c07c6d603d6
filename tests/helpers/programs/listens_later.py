import os
import socket
import sys

other = socket.create_server(("127.0.0.1", 0))
server = socket.socket()
server.bind(("127.0.0.1", int(sys.argv[1])))
print("bound", flush=True)
sys.stdin.readline()
assert not os.path.exists(sys.argv[2])
server.listen()
print("listens", flush=True)
sys.stdin.readline()
