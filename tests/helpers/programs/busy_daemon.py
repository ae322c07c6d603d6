import os
import socket

port = int(os.environ["PORT"])
runner, first = os.getppid(), os.getpid()
if os.fork():
    os._exit(0)
os.setsid()
rounds = 0
while rounds < 200 or os.getppid() in (first, runner):  # until the runner has ended, too
    with socket.socket() as sock:
        sock.bind(("", port))
        sock.listen()
        rounds += 1
print("bound", flush=True)
