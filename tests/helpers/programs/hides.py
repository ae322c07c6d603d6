import ctypes
import os
import socket
import sys

port, reuse = int(sys.argv[1]), int("reuse" in sys.argv)
child = os.fork()
if not child:
    libc = ctypes.CDLL(None)
    libc.prctl(15, b"hides", 0, 0, 0)  # PR_SET_NAME
    libc.prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE
    for host in ("127.0.0.1", "127.0.0.2"):
        server = socket.socket()
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
        try:
            server.bind((host, port))
            server.listen()
            print("listens", flush=True)
        except OSError as error:
            print(error.errno, flush=True)
    os._exit(0)
assert os.wait() == (child, 0)
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
server.bind(("127.0.0.1", port))
server.listen()
print(child, flush=True)
sys.exit(3)
