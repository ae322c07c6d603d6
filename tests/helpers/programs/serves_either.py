import socket
import sys

if sys.argv[1] == "tcp":
    server = socket.create_server(("127.0.0.1", int(sys.argv[2])))  # sets SO_REUSEADDR
else:
    server = socket.socket(type=socket.SOCK_DGRAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("127.0.0.1", int(sys.argv[2])))
print("up", flush=True)
while True:
    server.accept()[0].close() if sys.argv[1] == "tcp" else server.recv(9)
