import os
import socket

from anyport._linux import proc

with socket.create_server(("127.0.0.1", 0)) as server:
    inode = os.fstat(server.fileno()).st_ino
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(read, 1)
        os._exit(0)
    owners = proc.socket_owners({inode})[inode]
    assert sorted(owners) == sorted([(os.getpid(), proc.comm(os.getpid())), (child, proc.comm(child))]), owners
    os.write(write, b"x")
    os.wait()
    assert proc.socket_owners({inode}) == {inode: [(os.getpid(), proc.comm(os.getpid()))]}
    assert proc.socket_owners({0, 1}) == {}
