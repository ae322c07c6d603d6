"""What type checkers know of the plugin's fixtures: mypy and pyright read this file, pytest runs it."""

import inspect
import sys
from typing import assert_type

import pytest

import anyport
from anyport.pytest_plugin import HeldPortFactory, RunOnPort, UnusedPortFactory

SERVER = "import socket, sys; socket.create_server(('', int(sys.argv[1]))).accept()"


def test_numbers(unused_port: int, unused_port_factory: UnusedPortFactory, unused_udp_port: int) -> None:
    """Are int, and the factory knows the words of find."""
    assert_type((unused_port, unused_udp_port), tuple[int, int])
    assert_type(unused_port_factory([8080, 8081], host=["127.0.0.1"], keep="10s"), int)
    with pytest.raises(TypeError):
        unused_port_factory(prot=8080)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]


def test_holds(held_port: anyport.Hold, held_port_factory: HeldPortFactory) -> None:
    """Are those of hold."""
    assert held_port.exclusive is False
    assert_type(held_port_factory(exclusive=True, host="127.0.0.1"), anyport.Hold)
    with pytest.raises(TypeError):
        held_port_factory(prot=8080)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]


def test_programs(run_on_port: RunOnPort) -> None:
    """Are those of run."""
    assert_type(run_on_port([sys.executable, "-c", SERVER, "{port}"], hand_over="shared").port, int)
    with pytest.raises(TypeError):
        run_on_port(["true"], prot=8080)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]


def test_the_annotation_of_run_on_port_has_the_words_of_run() -> None:
    """All of them, with their types and defaults, but for the process group, which is the program's own."""
    words = list(inspect.signature(RunOnPort.__call__).parameters.values())[1:]
    own = [each.replace(default=None) if each.name == "process_group" else each for each in words]
    assert own == list(inspect.signature(anyport.run).parameters.values())
    assert own != words
