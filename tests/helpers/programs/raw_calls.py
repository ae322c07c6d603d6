# ruff: noqa: F401, F403, F405, for the code that follows
import ctypes
import errno
import mmap
import os
import select
import signal
import struct
import sys
import threading
from socket import *

libc = ctypes.CDLL(None, use_errno=True)
port = int(sys.argv[1])


def said(result):
    return errno.errorcode[ctypes.get_errno()] if result < 0 else "ok"


def bind(fd, address, length=None):
    return said(libc.bind(fd, address, len(address) if length is None else length))


def listen(fd, backlog=200):
    return said(libc.listen(fd, backlog))


def tcp(host="127.0.0.1", port=port, family=AF_INET):
    return struct.pack("=HH4s8x", family, htons(port), inet_aton(host))


def tcp6(host="::1", port=port, scope=0):
    return struct.pack("=HHI16sI", AF_INET6, htons(port), 0, inet_pton(AF_INET6, host), scope)


def new(family=AF_INET, kind=SOCK_STREAM, reuse=0, share=0):
    sock = socket(family, kind)
    sock.setsockopt(SOL_SOCKET, SO_REUSEADDR, reuse)
    sock.setsockopt(SOL_SOCKET, SO_REUSEPORT, share)
    return sock.detach()


def connect(fd, address, length=None):
    return said(libc.connect(fd, address, len(address) if length is None else length))


def name(fd, room):
    data, length = ctypes.create_string_buffer(b"#" * 40), ctypes.c_int(room)
    return said(libc.getsockname(fd, data, ctypes.byref(length))), data.raw[:32].hex(), length.value


def server(**words):
    fd = new(**words)
    return fd, bind(fd, tcp()), listen(fd)


def endpoint(**words):
    fd = new(kind=SOCK_DGRAM, **words)
    assert bind(fd, tcp()) == "ok"
    return fd


def everywhere():
    fd = new(AF_INET6, SOCK_DGRAM, share=1)
    assert bind(fd, tcp6("::")) == "ok"
    return fd


def on_new(call, *args):
    with socket() as sock:
        return call(sock.fileno(), *args)


def steer(fd):
    code = ctypes.create_string_buffer(struct.pack("=HBBI", 6, 0, 0, 0))
    program = struct.pack("@HP", 1, ctypes.addressof(code))
    return said(libc.setsockopt(fd, SOL_SOCKET, 51, program, len(program)))  # SO_ATTACH_REUSEPORT_CBPF


def spread(first, second):
    first, second = socket(fileno=first), socket(fileno=second)
    for _ in range(100):
        with socket(AF_INET, first.type) as client:
            client.settimeout(60)
            client.connect(("127.0.0.1", port))
            client.send(b"x")
    return [bool(select.select([each], [], [], 0)[0]) for each in (first, second)]


def edge():
    memory = mmap.mmap(-1, 2 * mmap.PAGESIZE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    libc.mprotect(ctypes.c_void_p(start + mmap.PAGESIZE), mmap.PAGESIZE, 0)
    return ctypes.c_void_p(start + mmap.PAGESIZE - 8)
