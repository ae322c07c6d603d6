import socket
import sys

server = socket.create_server(("", 8080), family=socket.AF_INET6, dualstack_ipv6=True)
seen = [server.getsockname()[1]]
for host in sys.argv[1:]:
    with socket.create_connection((host, 8080), timeout=60) as client:
        connection, peer = server.accept()
        assert peer[:2] == (peer[0], client.getsockname()[1])
        seen.append(connection.getsockname()[1])
        connection.close()
print(seen, flush=True)
while True:
    connection, _ = server.accept()
    connection.sendall(repr(seen).encode())
    connection.close()
