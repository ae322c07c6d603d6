import os
import socket
import sys

address, uid = sys.argv[1], int(sys.argv[2])
os.setgid(uid)
os.setuid(uid)
kept = []
for _ in range(30):
    kept.append(socket.socket(socket.AF_UNIX))
    kept[-1].connect(address.replace("@", chr(0), 1))
print("ready", flush=True)
input()
for each in kept:
    each.close()
