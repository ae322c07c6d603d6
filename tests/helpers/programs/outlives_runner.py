import os
import signal
import socket

print(os.getpid(), flush=True)
server = socket.create_server(("127.0.0.1", int(os.environ["PORT"])))
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
print("serving", flush=True)
assert signal.sigwait({signal.SIGTERM}) == signal.SIGTERM
client = socket.create_connection(server.getsockname())
server.accept()[0].sendall(b"here")
print(client.recv(4), flush=True)
try:
    socket.socket().bind(("127.0.0.1", 0))
except OSError as error:
    print(error.strerror, flush=True)
