import sys

CODE = "import os, socket, sys; os.write(1, %r * %d); socket.create_server(('', int(sys.argv[1]))).accept()"


def test_lines(run_on_port):
    run_on_port([sys.executable, "-c", CODE % (b"a line of 15 b\n", 10_000), "{port}"])
    assert False


def test_no_lines(run_on_port):
    run_on_port([sys.executable, "-c", CODE % (b"x", 40_000), "{port}"])
    assert False
