import os
import signal
import socket
import sys

if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
signal.alarm(60)
for number in range(100):
    server = socket.socket()
    server.bind(("127.0.0.1", int(sys.argv[1])))
    server.listen()
    connection, _ = server.accept()
    server.close()
    connection.sendall(b"%d %d\n" % (os.getpid(), number))
    connection.recv(1)  # so that it is the client who closes first, and has the TIME_WAIT
    connection.close()
