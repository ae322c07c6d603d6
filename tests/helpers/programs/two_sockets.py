import os
import socket
import sys

socks = []
for _ in range(2):
    socks.append(socket.socket())
    socks[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    socks[-1].bind(("", int(os.environ["PORT"])))
    socks[-1].listen()
print(os.environ["PORT"], flush=True)
sys.stdin.readline()
for sock in socks:
    sock.close()
print("closed", flush=True)
sys.stdin.read()
