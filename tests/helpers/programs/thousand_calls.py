import os
import signal
import socket
import sys

restarts = sys.argv[1] == "restarts"
port = int(os.environ["PORT"])
signal.siginterrupt(signal.SIGALRM, not restarts)
interrupted = 0


def make(call, *args):
    global interrupted
    while True:
        try:
            return call(*args)
        except InterruptedError:
            interrupted += 1


for _ in range(1000):
    with socket.socket() as sock:
        make(sock.bind, ("", port))
        make(sock.listen)
print("interrupted" if interrupted and restarts else "done")
