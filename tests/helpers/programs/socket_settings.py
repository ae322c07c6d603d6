import fcntl
import itertools
import os
import socket
import sys

port = int(sys.argv[1])
for kind, host, *wanted in itertools.product(
    (socket.SOCK_STREAM, socket.SOCK_DGRAM), ("127.0.0.1", "::1", "::"), *[(0, 1)] * 4
):
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind) as sock:
        reuseaddr, reuseport, nonblocking, cloexec = wanted
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuseaddr)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, reuseport)
        sock.setblocking(not nonblocking)
        sock.set_inheritable(not cloexec)

        def found():
            return [sock.getsockopt(socket.SOL_SOCKET, each) for each in (socket.SO_REUSEADDR, socket.SO_REUSEPORT)] + [
                int(bool(fcntl.fcntl(sock, fcntl.F_GETFL) & os.O_NONBLOCK)),
                fcntl.fcntl(sock, fcntl.F_GETFD),
            ]

        sock.bind((host, port))
        assert found() == wanted, ("bind", wanted, found())
        if kind == socket.SOCK_STREAM:
            sock.listen()
            assert found() == wanted, ("listen", wanted, found())
        print(*wanted, sock.getsockname())
