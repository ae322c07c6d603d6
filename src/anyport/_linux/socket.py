"""asm-generic/socket.h and socket(7): what Python's socket module does not name."""

import _socket
import os
import struct

SO_COOKIE = 57
SO_BINDTOIFINDEX = 62
SO_NETNS_COOKIE = 71  # Linux 5.14+
LOOPBACK = 1  # the index of lo in every network namespace


def netns_cookie(sock: "_socket.socket") -> int:
    """Return the number of the socket's network namespace, never used twice while the machine runs.

    Before Linux 5.14 it is the inode of /proc/self/ns/net, which the kernel uses again as soon as a namespace is gone;
    0 where there is neither.
    """
    try:
        return int.from_bytes(sock.getsockopt(_socket.SOL_SOCKET, SO_NETNS_COOKIE, 8), "little")
    except OSError:
        try:
            return os.stat("/proc/self/ns/net").st_ino
        except OSError:
            return 0


def own_netns_cookie() -> int:
    """Return the number of the network namespace that the caller is in; 0 where no socket can be had to ask."""
    try:
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)  # allowed where AF_INET is not
    except OSError:
        return 0
    try:
        return netns_cookie(sock)
    finally:
        sock.close()


def peer_of(sock: "_socket.socket") -> "tuple[int, int]":
    """Return the pid and uid at the other end of a Unix socket (SO_PEERCRED, unix(7)).

    For whoever connected they are those of the process that called listen.
    """
    pid, uid, _ = struct.unpack("=iII", sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12))
    return pid, uid


def mark(sock: "_socket.socket") -> None:
    """Bind a socket that was never bound to the interface lo, before it is closed.

    Whoever watches for closed sockets (`anyport run`) takes one without port and interface for a refused bind.
    """
    try:
        sock.setsockopt(_socket.SOL_SOCKET, SO_BINDTOIFINDEX, LOOPBACK)
    except OSError:  # before Linux 5.7 for root only
        return
