import socket
import sys
import threading


def serve():
    server = socket.socket()
    server.bind(("127.0.0.1", int(sys.argv[1])))
    server.listen()
    print("listens", flush=True)


thread = threading.Thread(target=serve)
thread.start()
thread.join()
