import pytest

from suite import can_be_bound


@pytest.fixture(scope="session")
def base(unused_port_factory):
    return unused_port_factory()


def test_one(unused_port, unused_port_factory, base):
    assert type(unused_port) is int and can_be_bound(unused_port)
    assert len({unused_port, base, *(unused_port_factory() for _ in range(50))}) == 52


def test_words(unused_port_factory):
    assert unused_port_factory(20123) == 20123
    assert unused_port_factory(in_="20124", host="127.0.0.1", keep=0) == 20124
