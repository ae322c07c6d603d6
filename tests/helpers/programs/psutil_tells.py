import os
import pwd
import socket
import sys

import anyport
from anyport.__main__ import run

server = socket.create_server(("127.0.0.1", 20123))
client = socket.create_connection(server.getsockname())
accepted, _ = server.accept()
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.bind(("127.0.0.1", 20124))
found = anyport.who("20123-20124")
peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
peer.bind(("127.0.0.1", 20126))
peer.connect(("127.0.0.1", 20124))
(one,) = anyport.who(20126)
assert (one.state, one.remote_address, one.remote_port) == ("ESTABLISHED", "127.0.0.1", 20124), one
assert anyport.who(20126, connections=False) == []
assert [(each.protocol, each.state) for each in found if each.port == 20124] == [("udp", "BOUND")], found
assert sorted(each.state for each in found if each.port == 20123) == ["ESTABLISHED", "LISTEN"]
assert all([one.pid for one in each.processes] == [os.getpid()] for each in found)
assert {each.user for each in found} == {pwd.getpwuid(os.geteuid()).pw_name} and found[0].processes[0].command
assert [each.state for each in anyport.who(20123, connections=False)] == ["LISTEN"]
assert anyport.who(20123, udp=True) == anyport.who(20125) == []
assert [each.processes for each in anyport.who(20124, processes=False)] == [()]
anyport.wait(20123, timeout=0)
try:
    anyport.wait(20123, tree=1)
except anyport.Unsupported as error:
    assert "on Linux only" in str(error)
else:
    raise AssertionError
status = 10 * run(["who", "20123", "--tcp", "--no-connections"]) + run(["who", "20125", "--udp"])
for sock in (server, client, accepted, datagrams, peer):
    sock.close()
sys.exit(status)
