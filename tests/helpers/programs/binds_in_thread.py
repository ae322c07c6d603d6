import socket
import sys
import threading

ready = threading.Event()


def make():
    global server
    server = socket.socket()
    server.bind(("127.0.0.1", int(sys.argv[1])))
    server.listen()
    ready.set()


thread = threading.Thread(target=make)
thread.start()
thread.join()
while True:
    connection, _ = server.accept()
    connection.sendall(connection.recv(100))
    connection.close()
