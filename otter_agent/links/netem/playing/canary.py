"""How late this machine's kernel lets packets go: seen on a netem of its own.

The kernel's queues don't count how late their timers were. So small packets go over one more of
them, whose delay is known, in a namespace that nobody else sees, by each processor in turn: what
holds them up (timers, interrupts, softirqs that come too late, a hypervisor) holds up links, too.
Both times are the kernel's own or nearly: a stamp right before the packet is sent, and that of its
arrival. Source: packet(7), socket(7) for SO_TIMESTAMPNS; sch_netem.c. Must not know: links.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
from contextlib import suppress

from otter_agent.errors import NetworkError
from otter_agent.links.netem import tc
from otter_agent.links.netem.options import Netem
from otter_agent.links.netem.place import ENTRY
from otter_agent.links.netem.playing.protocol import Pulse
from otter_agent.network import messages, namespaces
from otter_agent.network.netlink import Netlink
from otter_agent.network.operations import BringUp

EVERY_S = 0.025
LATE_S = 0.003
"""Later than this a packet is not what was asked: what is promised on a busy machine."""
_DELAY_NS = 2_000_000
_MOST_UNDER_WAY = 40
"""Later ones are lost: so many come in a second."""
_DEVICES = ("canary", "canary-end")
_TYPE = 0x88B5
"""ETH_P_802_EX1: for local experiments (IEEE 802)."""
_SO_TIMESTAMPNS = 35
_STAMP, _TIME = struct.Struct("=qq"), struct.Struct("=qq")
_HEADER = b"\x02\0\0\0\0\1" * 2 + struct.pack("!H", _TYPE)
_GONE = frozenset({errno.ENOBUFS, errno.EAGAIN})


class Canary:
    """Sends, hears, counts.

    Raises:
        NetworkError: Its link can't be made.
        OSError: Likewise.
    """

    def __init__(self) -> None:
        self._out, self._in = namespaces.in_own_thread(_link)
        self._processors = sorted(os.sched_getaffinity(0))
        self._turn = 0
        self._under_way = 0
        self._run = 0
        self._moments = self._late = 0
        self._worst_s = 0.0
        self.next_s = 0.0

    @property
    def descriptor(self) -> int:
        """Readable when some have arrived."""
        return self._in.fileno()

    def told(self) -> Pulse:
        """What it counted so far."""
        return Pulse(moments=self._moments, late_moments=self._late, worst_s=self._worst_s)

    def send(self, now: float) -> None:
        """One more, by the next processor."""
        self.next_s = now + EVERY_S
        if self._under_way >= _MOST_UNDER_WAY:
            self._moments += self._under_way
            self._late += self._under_way
            self._worst_s = max(self._worst_s, _MOST_UNDER_WAY * EVERY_S)
            self._under_way, self._run = 0, self._run + 1
        self._turn = (self._turn + 1) % len(self._processors)
        with _by(self._processors, self._turn):
            data = _HEADER + _STAMP.pack(time.time_ns(), self._run) + bytes(30)
            try:
                self._out.send(data)
            except OSError as exc:
                if exc.errno not in _GONE:
                    raise
                return
        self._under_way += 1

    def hear(self, events: int = 0) -> None:
        """Take in what has arrived."""
        with suppress(BlockingIOError):
            while True:
                data, extra, _, _ = self._in.recvmsg(128, 64)
                sent, run = _STAMP.unpack_from(data, len(_HEADER))
                if run != self._run or not extra:
                    continue  # it was given up, and counted
                seconds, part = _TIME.unpack_from(extra[0][2])
                late_s = (seconds * 10**9 + part - sent - _DELAY_NS) / 1e9
                self._under_way -= 1
                self._moments += 1
                self._late += late_s > LATE_S
                self._worst_s = max(self._worst_s, late_s)

    def close(self) -> None:
        """Its link ends with it."""
        self._out.close()
        self._in.close()


class _by:  # noqa: N801 - reads as a word
    """On one processor, for as long as it takes: a qdisc's timer runs where its packet was sent."""

    def __init__(self, processors: list[int], turn: int) -> None:
        self._all = processors
        self._one = {processors[turn]}

    def __enter__(self) -> None:
        if len(self._all) > 1:
            with suppress(OSError):  # it was taken away since
                os.sched_setaffinity(0, self._one)

    def __exit__(self, *exc: object) -> None:
        if len(self._all) > 1:
            with suppress(OSError):
                os.sched_setaffinity(0, self._all)


def _link() -> tuple[socket.socket, socket.socket]:
    """In a namespace that ends with its two sockets."""
    namespaces.unshare()
    with Netlink() as netlink:
        target = "a link to see how late timers are"
        netlink.send([tc.add_pair(*_DEVICES, "add a pair of devices")], target)
        ends = [netlink.index_of(name) for name in _DEVICES]
        netem = Netem(latency_ns=_DELAY_NS, limit=1000)
        delay = tc.put_qdisc(ends[0], ENTRY, tc.ROOT, netem, "set a delay", new=True)
        netlink.send([messages.encode(BringUp(ends[1], _DEVICES[1])), delay], target)
    protocol = socket.htons(_TYPE)
    out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    arrived = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol)
    try:
        out.bind((_DEVICES[0], 0))
        arrived.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        arrived.bind((_DEVICES[1], _TYPE))
    except OSError:
        out.close()
        arrived.close()
        raise
    return out, arrived


def made() -> Canary | None:
    """One, where it can be had."""
    try:
        return Canary()
    except (OSError, NetworkError):
        return None
