"""What a message takes over a path of links, as they are asked to be: its median. Pure.

A message of B bytes over links of delays d_i and rates r_i (a link without a rate adds nothing):

    wire   = B + 96 + 52·ceil((B + 96) / 1448)         headers of messages, of TCP/IP per packet
    time   = own + Σ (d_i + hop) + 8·wire / min r_i + Σ over the other rates 8·min(wire, unit) / r_i
             + jitter + what TCP itself holds back + the network between machines, and its tunnels

`unit` is what is handed on as one piece: a packet of 1500, or up to 64 KiB (of a sender that paces,
its chunk) where all links on the way leave packets uncut. Rates are the links', what their driver
carries (on the machine of the far end, too), and what the network between two machines does.

**Jitter.** A packet that is late holds up those behind it. A message is there when the latest of
its packets is: of packets that follow each other by g, the k-th last may be later by k·g without
being missed. The median of that is where Π F(x + k·g) = 1/2, F the distribution's (order statistics
of independent, shifted variables). One packet alone: the distribution's median.

**TCP.** A sender waits for acknowledgements, or spaces its packets out: `windows.py`.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from net.links.jitter import BOUND, entries_of
from net.links.spec import LinkSpec
from otter_ctl.planning.windows import PACED, SEGMENT_BYTES, Pacing, paced, slow_start_s

OWN_S = 0.00015
"""What messages take without any link: both modules' loops and the copying of little. As measured,
between two processes that rest in between, on the machine of docs/fidelity.md, calm. Of another
machine it is scaled: `pace.py`."""
HOP_S = 0.00002
"""What whoever makes a link scarce takes, beside what is asked of it: likewise, of driver tun."""
OWN_S_PER_BYTE = 0.5e-9
OWN_S_PER_DATAGRAM = 0.00005
"""The same of each that a message over UDP is cut into: made, sent, taken and put together."""
HEAD_BYTES = 96
PACKET_HEAD_BYTES = 52
LEAST_OF_MANY = 3.0
"""The least round trip that was seen lately is so many `jitter_s` below the usual one."""
PACKET_BYTES = 1500
LARGEST_BYTES = 65536
"""What a system hands on as one piece where nothing is done to single packets (GSO)."""
_MOST_PACKETS = 4096


@dataclass(frozen=True, slots=True)
class Parts:
    """What a message takes, by what takes it.

    Attributes:
        transport_s: Both modules' own: the SDK, system calls, waking up, copying.
        delay_s: Links' delays, as they are asked for.
        rate_s: Its bits, and its packets' one by one, at the links' rates.
        driver_s: Whoever makes the links scarce, beside what is asked.
        tcp_s: What TCP holds back: slow start, or pacing.
        jitter_s: The latest of its packets.
        network_s: The network between machines.
        tunnel_s: Getting into and out of the tunnels between machines.
        waiting_s: Messages of others that are before it.
    """

    transport_s: float = 0.0
    delay_s: float = 0.0
    rate_s: float = 0.0
    driver_s: float = 0.0
    tcp_s: float = 0.0
    jitter_s: float = 0.0
    network_s: float = 0.0
    tunnel_s: float = 0.0
    waiting_s: float = 0.0

    @property
    def seconds(self) -> float:
        """All of it."""
        links_s = self.delay_s + self.rate_s + self.driver_s + self.jitter_s + self.waiting_s
        return self.transport_s + links_s + self.tcp_s + self.network_s + self.tunnel_s


@dataclass(frozen=True, slots=True)
class Jitter:
    """What the jitter of a link adds to a message: how late the latest of its packets is.

    Attributes:
        scale_s: The link's `jitter_s`.
        entries: Of its distribution, in those.
        offsets: By how much packets are before the last one, in those.
        median_s: Half of all messages are so late, or less.
    """

    scale_s: float
    entries: Sequence[float]
    offsets: Sequence[float]
    median_s: float

    def by(self, moment_s: float) -> float:
        """The part of all messages that are so late, or less."""
        return _all_by(self.entries, moment_s / self.scale_s, self.offsets)


@dataclass(frozen=True, slots=True)
class Took:
    """What a message takes.

    Attributes:
        parts: From its sender to its receiver; None: it never comes.
        spread_s: Of that, from when the first of its packets leaves to when the last does.
        jitter: Of the only link that has some; None: there is none, or several.
    """

    parts: Parts | None = None
    spread_s: float = 0.0
    jitter: Jitter | None = None

    @property
    def seconds(self) -> float:
        """From its sender to its receiver; infinite: it never comes."""
        return math.inf if self.parts is None else self.parts.seconds


def message_s(path: Sequence[LinkSpec], size: float, **more: Any) -> float:
    """The seconds of `took`."""
    return took(path, size, **more).seconds


def took(
    path: Sequence[LinkSpec],
    size: float,
    *,
    rtt_s: float = 0.0,
    every_s: float | None = None,
    rates_bps: Sequence[float] | None = None,
    congestion: str = "",
    udp: bool = False,
) -> Took:
    """The formula of this module's head.

    Args:
        path: Directions of links, in the order in which they are crossed.
        size: Bytes of the message.
        rtt_s: There and back, for TCP; 0: none (UDP).
        every_s: How often one is sent; None: after a long pause.
        rates_bps: Of all that it passes one after the other, infinite: it sends at once; None: of
            each direction what is asked of it.
        congestion: The sender's congestion control; empty: not known, taken for cubic.
        udp: Whether it goes in datagrams, each of which the modules see to themselves.
    """
    wire = wire_bytes(size)
    if rates_bps is None:
        rates_bps = [spec.rate_bps or math.inf for spec in path]
    slowest, *others = sorted(rates_bps) or [math.inf]
    sent_s = 8 * wire / slowest
    pacing, unit = Pacing(), float(LARGEST_BYTES)
    if congestion in PACED and every_s is not None and rtt_s:
        shaken_s = sum(spec.jitter_s or 0.0 for spec in path)
        least_s = max(rtt_s - LEAST_OF_MANY * shaken_s, rtt_s / 2)
        pacing = paced(wire, least_s, sent_s)
        tail = 8 * min(wire, pacing.last * PACKET_BYTES) / slowest
        tcp_s = max(0.0, pacing.spread_s + tail - sent_s)
        unit = float(pacing.chunk * PACKET_BYTES)
    else:
        tcp_s = slow_start_s(wire, slowest, rtt_s, every_s)
    shaken = [jitter(spec, wire, slowest, pacing) for spec in path if spec.jitter_s]
    if any(_is_cut(spec) for spec in path):
        unit = float(PACKET_BYTES)
    datagrams = math.ceil((size + HEAD_BYTES) / SEGMENT_BYTES) if udp else 0
    parts = Parts(
        transport_s=OWN_S + OWN_S_PER_BYTE * size + OWN_S_PER_DATAGRAM * datagrams,
        delay_s=sum(spec.delay_s or 0.0 for spec in path),
        rate_s=sent_s + sum(8 * min(wire, unit) / rate for rate in others),
        driver_s=HOP_S * len(path),
        tcp_s=tcp_s,
        jitter_s=sum(one.median_s for one in shaken),
    )
    return Took(parts, pacing.spread_s, shaken[0] if len(shaken) == 1 else None)


def _is_cut(spec: LinkSpec) -> bool:
    """Whether something is done to single packets, so that larger pieces are cut before."""
    return bool(spec.rate_bps or spec.jitter_s or spec.loss_ratio)


def wire_bytes(size: float) -> float:
    """Of IP packets that carry a message of so many bytes."""
    full = size + HEAD_BYTES
    return full + PACKET_HEAD_BYTES * math.ceil(full / SEGMENT_BYTES)


def held_s(
    spec: LinkSpec,
    wire: float,
    rate_bps: float,
    pacing: Pacing = Pacing(),  # noqa: B008 - frozen
) -> float:
    """What jitter adds: the median of the latest of a message's packets."""
    return jitter(spec, wire, rate_bps, pacing).median_s if spec.jitter_s else 0.0


def jitter(spec: LinkSpec, wire: float, rate_bps: float, pacing: Pacing) -> Jitter:
    """What the jitter of a link that has some adds to a message."""
    scale_s = spec.jitter_s or 1.0
    count = min(math.ceil(wire / PACKET_BYTES), _MOST_PACKETS)
    gap = 8 * PACKET_BYTES / rate_bps  # 0 without a rate
    offsets = []
    for number in range(count):
        before = max(number * gap, pacing.offset_s(number, count)) / scale_s
        if before > 2 * BOUND:
            break
        offsets.append(before)
    entries = entries_of(spec)
    low, high = -BOUND, BOUND
    while high - low > 1e-3:
        middle = (low + high) / 2
        if _all_by(entries, middle, offsets) < 0.5:
            low = middle
        else:
            high = middle
    return Jitter(scale_s, entries, offsets, scale_s * (low + high) / 2)


def _all_by(entries: Sequence[float], moment: float, offsets: Sequence[float]) -> float:
    """The chance that all packets are there by a moment after the last one's mean."""
    chance = 1.0
    for before in offsets:
        chance *= bisect_right(entries, moment + before) / len(entries)
        if chance < 1e-6:
            break
    return chance
