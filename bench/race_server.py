"""A server for one request, which is answered with a token: race_server.py PORT TOKEN [reuse]."""

import socket
import sys
import time

DELAY = 0.005  # seconds between getting the port and binding it
PATIENCE = 10.0  # seconds


def main() -> None:
    port, token, *reuse = sys.argv[1:]
    time.sleep(DELAY)
    with listening(int(port), reuse=bool(reuse)) as server, answered(server, token) as connection:
        try:
            connection.recv(1)
        except ConnectionResetError:
            return


def listening(port: int, *, reuse: bool) -> socket.socket:
    server = socket.socket()
    try:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
        server.bind(("", port))
        server.listen()
        server.settimeout(PATIENCE)
    except OSError:
        server.close()
        raise
    return server


def answered(server: socket.socket, token: str) -> socket.socket:
    """Answer the first client's request; the connection, which the client has to end: so there is no TIME_WAIT."""
    connection, _ = server.accept()
    connection.settimeout(PATIENCE)
    connection.recv(65_536)
    connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(token)}\r\n\r\n{token}".encode())
    return connection


if __name__ == "__main__":
    main()
