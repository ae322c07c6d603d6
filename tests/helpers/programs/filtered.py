import ctypes
import os
import socket
import struct
import sys

libc = ctypes.CDLL(None, use_errno=True)
action = int(sys.argv[2])
bind, listen = {"x86_64": (49, 50), "aarch64": (200, 201)}[os.uname().machine]
load, equal, back = 0x20, 0x15, 0x06
code = b"".join(
    struct.pack("=HBBI", *each)
    for each in (
        (load, 0, 0, 0),
        (equal, 1, 0, bind),
        (equal, 0, 1, listen),
        (back, 0, 0, action),
        (back, 0, 0, 0x7FFF0000),
    )
)
memory = ctypes.create_string_buffer(code)
program = struct.pack("@HP", len(code) // 8, ctypes.addressof(memory))
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, program) == 0
server = socket.socket()
try:
    server.bind(("127.0.0.1", int(sys.argv[1])))
    server.listen()
    print("listens")
except OSError as error:
    print(error.strerror)
