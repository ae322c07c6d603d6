import sys

LEAVES_WORD = """
import signal, socket, sys
def stop(*_):
    print(sys.argv[2], file=open("stopped", "a"))
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
signal.pause()
"""


def start(run_on_port, name):
    return run_on_port([sys.executable, "-c", LEAVES_WORD, "{port}", name])
