import os
import socket
import sys

os.write(1, b"first, ")
os.write(2, b"second, ")
os.write(1, b"third\n")
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
number = 0
while True:
    client, _ = server.accept()
    number += 1
    os.write(1, b"connection %d, " % number)
    os.write(2, b"accepted\n")
    client.sendall(b"%d" % number)
    client.close()
