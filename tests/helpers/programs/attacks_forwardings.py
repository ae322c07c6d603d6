import json
import select
import socket
import sys
import time

first, last = map(int, sys.argv[1:])
had, tries = dict.fromkeys(range(first, last + 1), 0.0), 0
print("ready", flush=True)
while not select.select([0], (), (), 0)[0]:
    for port in had:
        for family, host in (socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"), (socket.AF_INET, ""):
            with socket.socket(family) as sock:
                tries += 1
                try:
                    sock.bind((host, port))
                    sock.listen()
                    had[port] = time.monotonic()
                except OSError:
                    pass
print(json.dumps([had, tries]))
