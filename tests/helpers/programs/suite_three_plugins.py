import pytest


def test_side_by_side(
    unused_port,
    unused_port_factory,
    held_port,
    unused_tcp_port,
    unused_tcp_port_factory,
    free_tcp_port,
    free_tcp_port_factory,
    free_udp_port,
):
    ports = [
        unused_port,
        unused_port_factory(),
        held_port.port,
        unused_tcp_port,
        unused_tcp_port_factory(),
        free_tcp_port,
        free_tcp_port_factory(),
    ]
    assert all(type(port) is int for port in [*ports, free_udp_port])
    assert unused_tcp_port_factory.__module__ == "pytest_asyncio.plugin"
    assert type(free_tcp_port_factory).__module__ == "anyio.pytest_plugin"
    assert all(10000 <= port < 30000 for port in ports[:3])


def test_udp(unused_udp_port_factory, unused_udp_port):
    assert unused_udp_port_factory.__module__ == "pytest_asyncio.plugin"
    assert type(unused_udp_port) is int


async def test_asyncio():
    pass


test_asyncio = pytest.mark.asyncio(test_asyncio)
