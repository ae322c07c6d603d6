import sys

binds = []
sys.addaudithook(lambda event, args: binds.append(args[1]) if event == "socket.bind" else None)
import anyport

anyport.wait(20123, until="unused", timeout=0)
try:
    anyport.wait(20123, timeout=0)
except anyport.TimedOut:
    pass
assert all(address[1] != 20123 for address in binds), binds
