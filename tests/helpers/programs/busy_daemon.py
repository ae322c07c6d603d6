import os
import socket
import time

port = int(os.environ["PORT"])
if os.fork():
    os._exit(0)
os.setsid()
end = time.monotonic() + 1
rounds = 0
while time.monotonic() < end:
    with socket.socket() as sock:
        sock.bind(("", port))
        sock.listen()
        rounds += 1
print("bound" if rounds > 100 else rounds, flush=True)
