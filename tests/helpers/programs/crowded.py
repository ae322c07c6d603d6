import os
import random
import socket
import sys
import time


def pause():
    time.sleep(random.uniform(0, 0.1))


def listening(port, host="127.0.0.1"):
    sock = socket.socket()
    pause()
    sock.bind((host, port))
    pause()
    sock.listen()
    pause()
    return sock


def raw(port):  # no option, and time to take the port away before each step
    return listening(port, random.choice(["127.0.0.1", ""]))


def restart(port):  # gives it up, and comes back
    for _ in range(3):
        listening(port).close()
    return listening(port)


def rebind(port):  # binds in one process, listens in another, begins anew in a third
    sock = socket.socket()
    sock.bind(("", port))
    if not (child := os.fork()):
        pause()
        sock.listen()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    sock.close()
    return listening(port)


def main(port, way):
    sys.stdin.readline()
    try:
        sock = way(port)  # noqa: F841, it stays open
    except OSError as error:
        print(f"{way.__name__} {port}: {error}", flush=True)
        os._exit(0)
    print("ok", flush=True)
    time.sleep(100)


first, count = int(os.environ["PORT"]), int(sys.argv[1])
children = []
pipes = []
for number in range(count):
    read, write = os.pipe()
    if not (child := os.fork()):
        sys.stdin = open(read)  # noqa: SIM115
        main(first + number, [raw, restart, rebind][number % 3])
    os.close(read)
    children.append(child)
    pipes.append(write)
print(first, flush=True)
sys.stdin.readline()
for pipe in pipes:
    os.write(pipe, b"\n")
sys.stdin.readline()
for child in children:
    os.kill(child, 9)
