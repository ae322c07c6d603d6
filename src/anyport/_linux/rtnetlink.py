"""rtnetlink(7) and linux/rtnetlink.h: where the kernel would send a packet to."""

import _socket
import struct

from anyport._linux import netlink

NETLINK_ROUTE = 0
RTM_GETROUTE = 26
RTA_DST = 1
RTN_LOCAL = 2

_rtmsg = struct.Struct("=BBBBBBBBI")  # family, dst_len, src_len, tos, table, protocol, scope, type, flags
_rtattr = struct.Struct("=HH")


def is_local(address: bytes) -> bool:
    """Tell whether this address (4 bytes for IPv4, 16 for IPv6) is this machine's own; OSError if it has no route."""
    family = _socket.AF_INET if len(address) == 4 else _socket.AF_INET6
    question = _rtmsg.pack(family, 8 * len(address), 0, 0, 0, 0, 0, 0, 0)
    question += _rtattr.pack(_rtattr.size + len(address), RTA_DST) + address
    return route_type(netlink.ask(NETLINK_ROUTE, RTM_GETROUTE, question)) == RTN_LOCAL


def route_type(answer: bytes) -> int:
    """Return the type of the route in a struct rtmsg."""
    if len(answer) < _rtmsg.size:
        raise netlink.NetlinkError(f"rtnetlink message of {len(answer)} bytes: {_rtmsg.size} are needed")
    kind: int = _rtmsg.unpack_from(answer)[7]
    return kind
