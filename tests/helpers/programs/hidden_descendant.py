import os
import socket

import anyport
from anyport._linux.prctl import set_dumpable

says, ends = os.pipe(), os.pipe()
tree = os.fork()
if not tree:
    os.close(ends[1])
    if os.fork():
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)  # it stays a zombie
    else:
        server = socket.create_server(("127.0.0.1", 20123))
        set_dumpable(False)  # as a set-uid program is, or what it starts
    os.write(says[1], b"1")
    os.read(ends[0], 1)
    os._exit(0)
os.read(says[0], 1)
try:
    anyport.wait(20123, tree=tree, timeout=0)
except anyport.TimedOut as error:
    print(error.hint)
try:
    anyport.wait([20123, 20124], tree=tree, until="unused", timeout=0)
except anyport.AnyportError as error:
    print(type(error).__name__, error, error.hint, sep=": ")
with socket.create_server(("127.0.0.1", 20125)):
    anyport.wait(20125, tree=tree, until="unused", timeout=0)
os.write(ends[1], b"1")
os.read(says[0], 1)
anyport.wait([20123, 20124], tree=tree, until="unused", timeout=0)
