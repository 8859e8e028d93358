"""Operations to rtnetlink message bodies, and kernel answers to values. Pure but for constants.

A body is what follows the 16 bytes of `nlmsghdr`: a fixed header, then attributes

     0       2       4 ...        padded to 4
     | len   | type  | value      |  next

Source: rtnetlink(7), linux/rtnetlink.h, linux/if_link.h, linux/veth.h, linux/net_namespace.h,
linux/fib_rules.h, linux/neighbour.h.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from otter_agent.network import operations as ops
from otter_agent.network import state

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH = 28
RTM_NEWRULE = 32
RTM_NEWNSID, RTM_DELNSID = 88, 89

F_REPLACE, F_EXCL, F_CREATE = 0x100, 0x200, 0x400

OUR_PROTOCOL = 79
"""rtm_protocol of every route made here ('O'; not in iproute2's rt_protos): how it is told from
what a user added by hand, which is left alone."""

_AF_INET = 2
_RT_TABLE_MAIN, INWARD_TABLE = 254, 79
_SCOPE_LINK, _SCOPE_HOST = 253, 254
_UNICAST, _LOCAL = 1, 2
_ONLINK = 4
_IFF_UP, _IFF_NOARP = 0x1, 0x80
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK = 1, 3, 4, 5
_IFLA_LINKINFO, _IFLA_NET_NS_FD, _IFLA_EXT_MASK = 18, 28, 29
_IFLA_NUM_TX_QUEUES, _IFLA_NUM_RX_QUEUES = 31, 32
_IFLA_INFO_KIND, _IFLA_INFO_DATA = 1, 2
_VETH_INFO_PEER = 1
_NESTED = 0x8000
_SKIP_STATS = 8
_VXLAN_ID, _VXLAN_GROUP, _VXLAN_LOCAL, _VXLAN_LEARNING, _VXLAN_PORT = 1, 2, 4, 7, 15
_NUD_PERMANENT = 0x80
_FRA_IIFNAME, _FRA_PRIORITY = 3, 6
_INWARD_PRIORITY = 79
"""Of the rule, after that for local addresses (0), before that for the main table (32766)."""

_LINK = struct.Struct("=BxHiII")  # ifinfomsg: family, type, index, flags, change
_ADDR = struct.Struct("=BBBBI")  # ifaddrmsg: family, prefix, flags, scope, index
_ROUTE = struct.Struct("=BBBBBBBBI")  # rtmsg: family, dst_len, src_len, tos, table, …
# rtmsg with RTA_DST, RTA_OIF and (the first) RTA_GATEWAY in one go: there are thousands of these.
_ROUTE_VIA = struct.Struct("=BBBBBBBBI HH4s HHI HH4s")
_ROUTE_LINK = struct.Struct("=BBBBBBBBI HH4s HHI")
_ATTR = struct.Struct("=HH")
_U32 = struct.Struct("=I")
_I32 = struct.Struct("=i")


# --- attributes -----------------------------------------------------------------------------------


def attribute(key: int, value: bytes) -> bytes:
    """One attribute, padded."""
    length = 4 + len(value)
    return _ATTR.pack(length, key) + value + b"\0" * (-length & 3)


def _text(key: int, value: str) -> bytes:
    return attribute(key, value.encode() + b"\0")


def attributes(data: bytes, start: int) -> Iterator[tuple[int, bytes]]:
    """(type, value) of each from `start` on."""
    end = len(data)
    while start + 4 <= end:
        length, key = _ATTR.unpack_from(data, start)
        if length < 4:
            return
        yield key & 0x3FFF, data[start + 4 : start + length]
        start += length + 3 & ~3


# --- requests -----------------------------------------------------------------------------------


class Request(NamedTuple):
    """One message to send, without its header."""

    kind: int
    flags: int
    body: bytes
    op: object
    """Says in an error what was tried (its `str`)."""


def encode(op: ops.Op, peer_netns: int = -1) -> Request:
    """The message for an operation; `peer_netns`: a descriptor, for `AddPair`, `AddTunnel`."""
    if isinstance(op, ops.AddPair):
        return _add_pair(op, peer_netns)
    if isinstance(op, ops.AddTunnel):
        return _add_tunnel(op, peer_netns)
    return _ENCODERS[type(op)](op)


def _put_route(op: ops.PutRoute) -> Request:
    to, length = op.to
    flags = F_CREATE | F_REPLACE
    if op.inward:
        header = _ROUTE.pack(
            _AF_INET, length, 0, 0, INWARD_TABLE, OUR_PROTOCOL, _SCOPE_LINK, _UNICAST, 0
        )
        return Request(RTM_NEWROUTE, flags, header + attribute(4, _U32.pack(op.index)), op)
    if op.index == ops.LOOPBACK:
        body = _ROUTE_LINK.pack(
            _AF_INET, length, 0, 0, _RT_TABLE_MAIN, OUR_PROTOCOL, _SCOPE_HOST, _LOCAL, 0,
            8, 1, to, 8, 4, op.index,
        )  # fmt: skip
    elif op.via is None:
        body = _ROUTE_LINK.pack(
            _AF_INET, length, 0, 0, _RT_TABLE_MAIN, OUR_PROTOCOL, _SCOPE_LINK, _UNICAST, 0,
            8, 1, to, 8, 4, op.index,
        )  # fmt: skip
    else:
        body = _ROUTE_VIA.pack(
            _AF_INET, length, 0, 0, _RT_TABLE_MAIN, OUR_PROTOCOL, 0, _UNICAST, _ONLINK,
            8, 1, to, 8, 4, op.index, 8, 5, op.via,
        )  # fmt: skip
    return Request(RTM_NEWROUTE, flags, body, op)


def _delete_route(op: ops.DeleteRoute) -> Request:
    to, length = op.to
    # RT_SCOPE_NOWHERE (255) matches any scope.
    header = _ROUTE.pack(_AF_INET, length, 0, 0, _RT_TABLE_MAIN, OUR_PROTOCOL, 255, _UNICAST, 0)
    return Request(RTM_DELROUTE, 0, header + attribute(1, to), op)


def _add_address(op: ops.AddAddress) -> Request:
    body = (
        _ADDR.pack(_AF_INET, 32, 0, 0, op.index)
        + attribute(2, op.address)
        + attribute(1, op.address)
    )
    return Request(RTM_NEWADDR, F_CREATE | F_REPLACE, body, op)


def _delete_address(op: ops.DeleteAddress) -> Request:
    body = _ADDR.pack(_AF_INET, op.prefix, 0, 0, op.index) + attribute(2, op.address)
    return Request(RTM_DELADDR, 0, body, op)


def _bring_up(op: ops.BringUp) -> Request:
    return Request(RTM_NEWLINK, 0, _LINK.pack(0, 0, op.index, _IFF_UP, _IFF_UP), op)


def _delete_device(op: ops.DeleteDevice) -> Request:
    return Request(RTM_DELLINK, 0, _LINK.pack(0, 0, op.index, 0, 0), op)


def _rename_device(op: ops.RenameDevice) -> Request:
    body = _LINK.pack(0, 0, op.index, 0, 0) + _text(_IFLA_IFNAME, op.name)
    return Request(RTM_NEWLINK, 0, body, op)


def _set_mtu(op: ops.SetMtu) -> Request:
    body = _LINK.pack(0, 0, op.index, 0, 0) + attribute(_IFLA_MTU, _U32.pack(op.mtu))
    return Request(RTM_NEWLINK, 0, body, op)


# One queue each way: the default is one per CPU of the machine, all with folders in sysfs, and a
# veth takes no lock that more of them would spread.
_QUEUES = attribute(_IFLA_NUM_TX_QUEUES, _U32.pack(1)) + attribute(
    _IFLA_NUM_RX_QUEUES, _U32.pack(1)
)


def _shape(mtu: int) -> bytes:
    return attribute(_IFLA_MTU, _U32.pack(mtu)) + _QUEUES


def _add_pair(op: ops.AddPair, peer_netns: int) -> Request:
    flags = _IFF_UP | _IFF_NOARP
    peer = (
        # Not up yet: at this moment the kernel hasn't joined the ends (veth_open: ENOTCONN).
        _LINK.pack(0, 0, op.peer_index, _IFF_NOARP, _IFF_NOARP)
        + _text(_IFLA_IFNAME, op.peer_device)
        + attribute(_IFLA_ADDRESS, op.mac)
        + _shape(op.mtu)
        + attribute(_IFLA_NET_NS_FD, _U32.pack(peer_netns))
    )
    info = _text(_IFLA_INFO_KIND, "veth") + attribute(
        _IFLA_INFO_DATA | _NESTED, attribute(_VETH_INFO_PEER | _NESTED, peer)
    )
    body = (
        _LINK.pack(0, 0, op.index, flags, flags)
        + _text(_IFLA_IFNAME, op.device)
        + attribute(_IFLA_ADDRESS, op.mac)
        + _shape(op.mtu)
        + attribute(_IFLA_LINKINFO | _NESTED, info)
    )
    return Request(RTM_NEWLINK, F_CREATE | F_EXCL, body, op)


def _add_tunnel(op: ops.AddTunnel, netns: int) -> Request:
    """To be sent in the machine's namespace, where its socket stays; the device is made in `netns`.

    `IFLA_VXLAN_GROUP` is the one machine to which all goes: nothing is learnt from what comes.
    """
    data = (
        attribute(_VXLAN_ID, _U32.pack(op.vni))
        + attribute(_VXLAN_GROUP, op.remote)
        + attribute(_VXLAN_LOCAL, op.local)
        + attribute(_VXLAN_LEARNING, b"\0")
        + attribute(_VXLAN_PORT, struct.pack("!H", op.port))
    )
    info = _text(_IFLA_INFO_KIND, "vxlan") + attribute(_IFLA_INFO_DATA | _NESTED, data)
    body = (
        _LINK.pack(0, 0, op.index, 0, 0)
        + _text(_IFLA_IFNAME, op.device)
        + attribute(_IFLA_ADDRESS, op.mac)
        + _shape(op.mtu)
        + attribute(_IFLA_NET_NS_FD, _U32.pack(netns))
        + attribute(_IFLA_LINKINFO | _NESTED, info)
    )
    return Request(RTM_NEWLINK, F_CREATE | F_EXCL, body, op)


def add_device(name: str, kind: str, op: object = "") -> Request:
    """A device of a kind that needs nothing said of it; down."""
    info = _text(_IFLA_INFO_KIND, kind)
    body = _LINK.pack(0, 0, 0, 0, 0) + _text(_IFLA_IFNAME, name)
    return Request(
        RTM_NEWLINK, F_CREATE | F_EXCL, body + attribute(_IFLA_LINKINFO | _NESTED, info), op
    )


def name_hop(op: ops.AddTunnel) -> Request:
    """Says for good which hardware address the other end of a tunnel has: nobody asks for it."""
    header = struct.pack("=BxxxiHBB", _AF_INET, op.index, _NUD_PERMANENT, 0, 0)
    body = header + attribute(1, op.hop) + attribute(2, op.peer_mac)
    return Request(RTM_NEWNEIGH, F_CREATE | F_REPLACE, body, op)


def inward_rule(device: str) -> Request:
    """What comes out of `device` goes by a table of its own, wherever the main one leads."""
    # fib_rule_hdr: family, dst_len, src_len, tos, table, res1, res2, action (1: to a table), flags
    header = struct.pack("=BBBBBBBBI", _AF_INET, 0, 0, 0, INWARD_TABLE, 0, 0, 1, 0)
    body = header + attribute(_FRA_PRIORITY, _U32.pack(_INWARD_PRIORITY))
    body += _text(_FRA_IIFNAME, device)
    return Request(RTM_NEWRULE, F_CREATE | F_EXCL, body, f"add the rule for {device}")


_ENCODERS: dict[type[Any], Callable[[Any], Request]] = {
    ops.PutRoute: _put_route,
    ops.DeleteRoute: _delete_route,
    ops.AddAddress: _add_address,
    ops.DeleteAddress: _delete_address,
    ops.BringUp: _bring_up,
    ops.DeleteDevice: _delete_device,
    ops.RenameDevice: _rename_device,
    ops.SetMtu: _set_mtu,
}


# --- namespace ids: only for watching a teardown --------------------------------------------------


def assign_nsid(netns: int, number: int) -> Request:
    """Give a namespace (an open descriptor) a number in the socket's own namespace."""
    body = b"\0\0\0\0" + attribute(1, _I32.pack(number)) + attribute(3, _U32.pack(netns))
    return Request(RTM_NEWNSID, 0, body, "watch a namespace")


def parse_nsid(body: bytes) -> int:
    """The number in a RTM_NEWNSID or RTM_DELNSID event."""
    return int(_I32.unpack(dict(attributes(body, 4))[1])[0])


# --- dumps ----------------------------------------------------------------------------------------


def get_links() -> tuple[int, bytes]:
    """Asks for all devices, without their counters."""
    return RTM_GETLINK, _LINK.pack(0, 0, 0, 0, 0) + attribute(
        _IFLA_EXT_MASK, _U32.pack(_SKIP_STATS)
    )


def get_addresses() -> tuple[int, bytes]:
    """Asks for all IPv4 addresses."""
    return RTM_GETADDR, _ADDR.pack(_AF_INET, 0, 0, 0, 0)


def get_routes(table: int = _RT_TABLE_MAIN) -> tuple[int, bytes]:
    """Asks for our routes (older kernels than 4.20 send all: `parse_route` filters)."""
    return RTM_GETROUTE, _ROUTE.pack(_AF_INET, 0, 0, 0, table, OUR_PROTOCOL, 0, 0, 0)


def parse_link(body: bytes) -> state.Device:
    """A device from RTM_NEWLINK (or a RTM_DELLINK event)."""
    _, _, index, flags, _ = _LINK.unpack_from(body)
    name, kind, mac, peer, mtu = "", "", b"", 0, 0
    for key, value in attributes(body, _LINK.size):
        if key == _IFLA_IFNAME:
            name = value.rstrip(b"\0").decode(errors="replace")
        elif key == _IFLA_ADDRESS:
            mac = value
        elif key == _IFLA_MTU:
            mtu = int(_U32.unpack(value)[0])
        elif key == _IFLA_LINK:
            peer = int(_U32.unpack(value)[0])
        elif key == _IFLA_LINKINFO:
            kind = dict(attributes(value, 0)).get(_IFLA_INFO_KIND, b"").rstrip(b"\0").decode()
    return state.Device(index, name, bool(flags & _IFF_UP), kind, mac, peer, mtu)


def parse_address(body: bytes) -> tuple[int, bytes, int] | None:
    """(device index, address, prefix length); None for 127.0.0.0/8."""
    _, prefix, _, _, index = _ADDR.unpack_from(body)
    values = dict(attributes(body, _ADDR.size))
    local = values.get(2) or values.get(1) or b""
    return None if not local or local[0] == 127 else (index, local, prefix)


def parse_route(
    body: bytes, wanted: int = _RT_TABLE_MAIN
) -> tuple[ops.Cidr, tuple[bytes | None, int]] | None:
    """Destination, neighbour and device index; None if it isn't one of ours."""
    family, length, _, _, table, protocol, _, kind, _ = _ROUTE.unpack_from(body)
    if (family, table, protocol) != (_AF_INET, wanted, OUR_PROTOCOL):
        return None
    if kind not in (_UNICAST, _LOCAL):
        return None
    to, via, index = b"\0\0\0\0", None, 0
    for key, value in attributes(body, _ROUTE.size):
        if key == 1:
            to = value
        elif key == 5:
            via = value
        elif key == 4:
            index = _U32.unpack(value)[0]
    return (to, length), (via, index)
