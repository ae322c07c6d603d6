"""A socket without any option, `tcp PORT` or `udp PORT` on 127.0.0.1, or an inherited one, `tcp 3`: sends back."""

import socket
import sys

kind = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}[sys.argv[1]]
number = int(sys.argv[2])
if number == 3:
    server = socket.socket(fileno=number)
    assert server.type == kind
else:
    server = socket.socket(type=kind)
    server.bind(("127.0.0.1", number))
    if kind == socket.SOCK_STREAM:
        server.listen()
while True:
    if kind == socket.SOCK_DGRAM:
        server.sendto(*server.recvfrom(100))
    else:
        connection, _ = server.accept()
        with connection:
            connection.sendall(connection.recv(100))
