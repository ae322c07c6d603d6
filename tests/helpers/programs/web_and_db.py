import os
import socket
import sys

servers = {port: socket.create_server(("127.0.0.1", port)) for port in (8080, 5432)}
for port, server in servers.items():
    client = socket.create_connection(("127.0.0.1", port), timeout=60)
    server.accept()[0].sendall(b"%d" % port)
    print(client.recv(10).decode(), server.getsockname()[1], end=" ")
with open("/proc/self/net/tcp") as table:
    print(*sorted(int(line.split()[1][-4:], 16) for line in table if " 0A " in line))
print(*sys.argv[1:], os.environ["PORT"])
