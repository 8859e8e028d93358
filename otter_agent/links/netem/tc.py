"""Traffic control's rtnetlink messages: qdiscs, classes, devices, and what dumps say. Pure.

    nlmsghdr | tcmsg: family, ifindex, handle, parent, info | TCA_KIND, TCA_OPTIONS, TCA_STAB, …

Source: rtnetlink(7), linux/rtnetlink.h, linux/pkt_sched.h, linux/pkt_cls.h, linux/gen_stats.h.
Must not know: links, sockets.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Protocol

from otter_agent.network.messages import (
    F_CREATE,
    F_EXCL,
    RTM_GETLINK,
    RTM_NEWLINK,
    Request,
    attribute,
    attributes,
)

RTM_NEWQDISC, RTM_DELQDISC, RTM_GETQDISC = 36, 37, 38
RTM_NEWTCLASS, RTM_GETTCLASS = 40, 42
RTM_DELTCLASS = 41
F_ECHO = 8
"""The kernel answers with what it then has."""

ROOT = 0xFFFFFFFF
INGRESS = 0xFFFFFFF1
"""Parent of the qdisc that packets pass on their way in (TC_H_INGRESS, TC_H_CLSACT)."""
_INGRESS_HANDLE = 0xFFFF0000

_TC = struct.Struct("=BxxxiIII")
_LINK = struct.Struct("=BxHiII")
_U32 = struct.Struct("=I")
_STAB = struct.Struct("=BBhiIIII")  # cell_log, size_log, align, overhead, linklayer, mpu, mtu, size
_BASIC = struct.Struct("=QI")
_STATS64 = struct.Struct("=8Q")  # rtnl_link_stats64: packets, bytes, errors, drops; in, out each
_QUEUE = struct.Struct("=5I")  # qlen, backlog, drops, requeues, overlimits

_KIND, _OPTIONS, _STATS2, _STAB_ATTR = 1, 2, 7, 8
_STATS_BASIC, _STATS_QUEUE, _STATS_APP, _STATS_PKT64 = 1, 3, 4, 8
_STAB_BASE = 1
_NESTED = 0x8000

_IFF_UP, _IFF_NOARP = 0x1, 0x80
_IFLA_IFNAME, _IFLA_LINKINFO, _IFLA_INFO_KIND, _IFLA_INFO_DATA, _IFLA_STATS64 = 3, 18, 1, 2, 23
_VETH_INFO_PEER = 1
_IFLA_NUM_TX_QUEUES, _IFLA_NUM_RX_QUEUES = 31, 32


class Options(Protocol):
    """Parameters of a qdisc or class (options.py)."""

    @property
    def kind(self) -> str:
        """As the kernel calls it."""

    def encode(self) -> bytes:
        """What follows the header of TCA_OPTIONS."""


@dataclass(frozen=True, slots=True)
class Stats:
    """Counters of a qdisc; sizes are in bytes, `app` are those of its own kind (`tc_…_xstats`)."""

    packets: int = 0
    size: int = 0
    waiting_packets: int = 0
    waiting_size: int = 0
    drops: int = 0
    app: bytes = b""


@dataclass(frozen=True, slots=True)
class Seen:
    """A qdisc or class as a dump or an echo shows it.

    Attributes:
        index: Of its device.
        overhead: Bytes that it counts on top of each packet; None: no size table.
    """

    message: int
    index: int
    handle: int
    parent: int
    kind: str
    options: bytes
    overhead: int | None
    stats: Stats


# --- requests -------------------------------------------------------------------------------------


def put_qdisc(
    index: int,
    handle: int,
    parent: int,
    options: Options,
    op: object,
    *,
    new: bool,
) -> Request:
    """Make a qdisc, or change it in its place: then nothing is lost of what it holds."""
    body = _TC.pack(0, index, handle, parent, 0) + _kind(options.kind)
    body += attribute(_OPTIONS, options.encode())
    overhead = getattr(options, "overhead", None)
    if overhead is not None:
        body += _sizes(overhead)
    flags = F_ECHO | F_CREATE | F_EXCL if new else F_ECHO
    if new and parent != ROOT:
        flags = F_ECHO | F_CREATE | 0x100  # in the place of what is there (NLM_F_REPLACE)
    return Request(RTM_NEWQDISC, flags, body, op)


def drop_qdisc(index: int, handle: int, parent: int, op: object) -> Request:
    """The end of a qdisc, with what waits in it."""
    return Request(RTM_DELQDISC, 0, _TC.pack(0, index, handle, parent, 0), op)


def put_overhead(index: int, handle: int, kind: str, overhead: int, op: object) -> Request:
    """Change what a device's qdisc counts on top of each packet, and nothing else."""
    body = _TC.pack(0, index, handle, ROOT, 0) + _kind(kind) + _sizes(overhead)
    return Request(RTM_NEWQDISC, F_ECHO, body, op)


def _sizes(overhead: int) -> bytes:
    """No table: a packet counts its own bytes and these. The kernel has it on roots only."""
    base = _STAB.pack(0, 0, 0, overhead, 1, 0, 0, 0)
    return attribute(_STAB_ATTR | _NESTED, attribute(_STAB_BASE, base))


def put_class(index: int, handle: int, options: Options, op: object, *, new: bool) -> Request:
    """Make a class of a qdisc, or change it."""
    body = _TC.pack(0, index, handle, handle & 0xFFFF0000, 0) + _kind(options.kind)
    body += attribute(_OPTIONS, options.encode())
    return Request(RTM_NEWTCLASS, F_ECHO | F_CREATE if new else F_ECHO, body, op)


def put_ingress(index: int, op: object) -> Request:
    """Where filters on a device's way in live."""
    body = _TC.pack(0, index, _INGRESS_HANDLE, INGRESS, 0) + _kind("clsact")
    return Request(RTM_NEWQDISC, F_CREATE | F_EXCL, body, op)


def drop_class(index: int, handle: int, op: object) -> Request:
    """The end of a class, with what waits in it."""
    body = _TC.pack(0, index, handle, handle & 0xFFFF0000, 0)
    return Request(RTM_DELTCLASS, 0, body, op)


def add_detour_device(name: str, op: object) -> Request:
    """A device that only queues what is sent through it (ifb), up."""
    flags = _IFF_UP | _IFF_NOARP
    body = (
        _LINK.pack(0, 0, 0, flags, flags)
        + attribute(_IFLA_IFNAME, name.encode() + b"\0")
        + attribute(_IFLA_NUM_TX_QUEUES, _U32.pack(1))
        + attribute(_IFLA_NUM_RX_QUEUES, _U32.pack(1))
        + attribute(_IFLA_LINKINFO | _NESTED, attribute(_IFLA_INFO_KIND, b"ifb\0"))
    )
    return Request(RTM_NEWLINK, F_CREATE | F_EXCL, body, op)


def add_pair(name: str, other: str, op: object) -> Request:
    """Two devices, the first one up; what is sent by one comes in by the other."""
    end = _LINK.pack(0, 0, 0, _IFF_UP | _IFF_NOARP, _IFF_UP | _IFF_NOARP)
    shape = attribute(_IFLA_NUM_TX_QUEUES, _U32.pack(1)) + attribute(
        _IFLA_NUM_RX_QUEUES, _U32.pack(1)
    )
    down = _LINK.pack(0, 0, 0, _IFF_NOARP, _IFF_NOARP)
    peer = down + attribute(_IFLA_IFNAME, other.encode() + b"\0") + shape
    info = attribute(_IFLA_INFO_KIND, b"veth\0") + attribute(
        _IFLA_INFO_DATA | _NESTED, attribute(_VETH_INFO_PEER | _NESTED, peer)
    )
    body = end + attribute(_IFLA_IFNAME, name.encode() + b"\0") + shape
    body += attribute(_IFLA_LINKINFO | _NESTED, info)
    return Request(RTM_NEWLINK, F_CREATE | F_EXCL, body, op)


def get_qdiscs() -> tuple[int, bytes]:
    """Asks for all qdiscs of a namespace."""
    return RTM_GETQDISC, _TC.pack(0, 0, 0, 0, 0)


def get_classes(index: int) -> tuple[int, bytes]:
    """Asks for all classes of a device."""
    return RTM_GETTCLASS, _TC.pack(0, index, 0, 0, 0)


def get_counted_links() -> tuple[int, bytes]:
    """Asks for all devices, with what they counted."""
    return RTM_GETLINK, _LINK.pack(0, 0, 0, 0, 0)


# --- answers --------------------------------------------------------------------------------------


def parse(message: int, body: bytes) -> Seen:
    """A qdisc or class from a dump, an echo or an event."""
    _, index, handle, parent, _ = _TC.unpack_from(body)
    at = dict(attributes(body, _TC.size))
    overhead = None
    if (base := dict(attributes(at.get(_STAB_ATTR, b""), 0)).get(_STAB_BASE)) is not None:
        overhead = int(_STAB.unpack(base)[3])
    kind = at.get(_KIND, b"").rstrip(b"\0").decode(errors="replace")
    options = at.get(_OPTIONS, b"")
    return Seen(message, index, handle, parent, kind, options, overhead, _stats(at))


def parse_arrived(body: bytes) -> tuple[int, int]:
    """Packets and bytes (with Ethernet's header) that came in by a device, from its dump."""
    stats = dict(attributes(body, _LINK.size)).get(_IFLA_STATS64, bytes(_STATS64.size))
    packets, _, size, *_ = _STATS64.unpack_from(stats)
    return packets, size


def parse_lost(body: bytes) -> int:
    """Packets that a device let go and the other end of its pair had no room for."""
    stats = dict(attributes(body, _LINK.size)).get(_IFLA_STATS64, bytes(_STATS64.size))
    return int(_STATS64.unpack_from(stats)[7])


def handle_of(body: bytes) -> int:
    """Of the qdisc in a dump."""
    return int(_TC.unpack_from(body)[2])


def _stats(at: dict[int, bytes]) -> Stats:
    stats = dict(attributes(at.get(_STATS2, b""), 0))
    size, packets = _BASIC.unpack_from(stats.get(_STATS_BASIC, bytes(12)))
    if _STATS_PKT64 in stats:
        packets = struct.unpack("=Q", stats[_STATS_PKT64])[0]
    length, backlog, drops, _, _ = _QUEUE.unpack_from(stats.get(_STATS_QUEUE, bytes(20)))
    return Stats(packets, size, length, backlog, drops, stats.get(_STATS_APP, b""))


def _kind(name: str) -> bytes:
    return attribute(_KIND, name.encode() + b"\0")
