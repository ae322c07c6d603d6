import socket
import sys

wanted = set(map(int, sys.argv[1:]))
server = socket.create_server(("127.0.0.1", 9001))
seen = set()
for _ in range(10_000):
    with socket.socket() as one, socket.socket() as two:
        one.bind(("", 0))
        two.connect(server.getsockname())
        server.accept()[0].close()
        seen |= {one.getsockname()[1], two.getsockname()[1]} & wanted
print(*sorted(seen))
