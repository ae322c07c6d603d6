import socket
from pathlib import Path

import anyport
from suite import can_be_bound


def test_it(held_port, held_port_factory):
    assert isinstance(held_port, anyport.Hold)
    assert not can_be_bound(held_port.port)
    assert can_be_bound(held_port.port, reuse=True)
    exclusive = held_port_factory(in_="20001-20009", exclusive=True)
    assert 20001 <= exclusive.port <= 20009 and not can_be_bound(exclusive.port, reuse=True)
    udp = held_port_factory(udp=True)
    assert not can_be_bound(udp.port, kind=socket.SOCK_DGRAM)
    released = held_port_factory()
    released.release()
    Path("ports").write_text(f"{held_port.port} {exclusive.port} {udp.port}")


def test_afterwards():
    held, exclusive, udp = map(int, Path("ports").read_text().split())
    assert can_be_bound(held) and can_be_bound(exclusive) and can_be_bound(udp, kind=socket.SOCK_DGRAM)
