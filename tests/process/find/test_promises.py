"""The promise table (docs/promises.md): column `find`, every cell under attack by other processes."""

import socket
import time

import anyport
from helpers.support import (
    NO_VARIABLE,
    NOBODY,
    churn,
    free_uid,
    listening,
    no_folders,
    outputs_of,
    private_network,
    program,
    python,
    python_as,
)

TAKE_FROM_LIST = """
import sys, anyport
print(*(anyport.find(in_="20123-20142") for _ in range(2)))
"""
FIRST_THAT_BINDS = program("first_that_binds.py")


def test_other_callers_who_may_choose_are_kept_out() -> None:
    """Nine processes draw the 19 other numbers from the same list; none gets ours, the naive way does at once."""
    with private_network():
        ours = anyport.find(in_="20123-20142", order="ascending")
        theirs = [int(word) for text in outputs_of(TAKE_FROM_LIST, 9) for word in text.split()]
        assert len(theirs) == len(set(theirs)) == 18
        assert ours not in theirs
        assert int(python(FIRST_THAT_BINDS).stdout) == ours


def test_other_users_are_not_promised_anything() -> None:
    """The ledger is this user's: another one may be given the same number."""
    uid = free_uid("stranger")
    with private_network(), no_folders(uid):
        assert anyport.find(in_=[20123]) == 20123
        assert python_as(uid, NO_VARIABLE + "print(anyport.find(in_=[20123]))").stdout == "20123\n"


def test_the_kernel_gives_away_ephemeral_numbers_only() -> None:
    """10,000 bind(0) and as many connections: never a quiet number; an ephemeral one is soon gone."""
    code = program("kernel_gives.py")
    with private_network((40000, 40199)):
        quiet, ephemeral = anyport.find(), anyport.find(ephemeral=True)
        assert [int(word) for word in python(code, str(quiet), str(ephemeral)).stdout.split()] == [ephemeral]


def test_a_found_port_survives_the_storm_only_outside_the_ephemeral_range() -> None:
    """The same cell, seen from the server: the quiet number can be bound after the storm has passed over it."""
    with private_network((40000, 40007)), churn(9001):
        port = anyport.find()
        with socket.create_server(("", port)):
            pass


def test_a_program_that_names_the_number_can_take_it() -> None:
    """No promise: with SO_REUSEADDR or without, of the same user or another."""
    code = """
import socket, sys
with socket.socket() as sock:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(sys.argv[2]))
    sock.bind(("", int(sys.argv[1])))
    sock.listen()
    print("taken")
"""
    with private_network():
        for reuse in "01":
            port = str(anyport.find())
            assert python(code, port, reuse).stdout == "taken\n"
            assert python_as(NOBODY, code, port, reuse).stdout == "taken\n"


def test_find_never_answers_what_the_bind_refused() -> None:
    """Whatever the ledger says: occupied numbers of a list are passed over while others come and go."""
    with private_network(), listening("::", 20123), listening("127.0.0.2", 20124):
        end = time.monotonic() + 1
        while time.monotonic() < end:
            assert anyport.find(in_="20123-20126") in (20125, 20126)
