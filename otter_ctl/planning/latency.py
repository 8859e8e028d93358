"""What a message takes over a path of links, as they are asked to be: its median. Pure.

A message of B bytes over links of delays d_i and rates r_i (a link without a rate adds nothing):

    wire   = B + 96 + 52·ceil((B + 96) / 1448)         headers of messages, of TCP/IP per packet
    time   = own + Σ (d_i + hop) + 8·wire / min r_i + Σ over the other rates 8·min(wire, 1500) / r_i
             + jitter + what TCP itself holds back

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

OWN_S = 0.0002
"""What messages take without any link: both modules' loops and the copying of little."""
HOP_S = 0.0001
"""What whoever makes a link scarce takes, beside what is asked of it."""
OWN_S_PER_BYTE = 0.5e-9
HEAD_BYTES = 96
PACKET_HEAD_BYTES = 52
LEAST_OF_MANY = 3.0
"""The least round trip that was seen lately is so many `jitter_s` below the usual one."""
PACKET_BYTES = 1500
_MOST_PACKETS = 4096


@dataclass(frozen=True, slots=True)
class Took:
    """What a message takes.

    Attributes:
        seconds: From its sender to its receiver.
        spread_s: Of that, from when the first of its packets leaves to when the last does.
    """

    seconds: float
    spread_s: float = 0.0


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
) -> Took:
    """The formula of this module's head.

    Args:
        path: Directions of links, in the order in which they are crossed.
        size: Bytes of the message.
        rtt_s: There and back, for TCP; 0: none (UDP).
        every_s: How often one is sent; None: after a long pause.
        rates_bps: Of each direction, infinite: it sends at once; None: what is asked of it.
        congestion: The sender's congestion control; empty: not known, taken for cubic.
    """
    wire = wire_bytes(size)
    seconds = OWN_S + OWN_S_PER_BYTE * size + sum((spec.delay_s or 0.0) + HOP_S for spec in path)
    if rates_bps is None:
        rates_bps = [spec.rate_bps or math.inf for spec in path]
    slowest, *others = sorted(rates_bps) or [math.inf]
    seconds += sum(8 * min(wire, PACKET_BYTES) / rate for rate in others)
    pacing = Pacing()
    if congestion in PACED and every_s is not None and rtt_s:
        shaken_s = sum(spec.jitter_s or 0.0 for spec in path)
        least_s = max(rtt_s - LEAST_OF_MANY * shaken_s, rtt_s / 2)
        pacing = paced(wire, least_s, 8 * wire / slowest)
        tail = 8 * min(wire, pacing.last * PACKET_BYTES) / slowest
        seconds += max(8 * wire / slowest, pacing.spread_s + tail)
    else:
        seconds += 8 * wire / slowest + slow_start_s(wire, slowest, rtt_s, every_s)
    seconds += sum(held_s(spec, wire, slowest, pacing) for spec in path)
    return Took(seconds, pacing.spread_s)


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
    if not spec.jitter_s:
        return 0.0
    count = min(math.ceil(wire / PACKET_BYTES), _MOST_PACKETS)
    gap = 8 * PACKET_BYTES / rate_bps  # 0 without a rate
    offsets = []
    for number in range(count):
        before = max(number * gap, pacing.offset_s(number, count)) / spec.jitter_s
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
    return spec.jitter_s * (low + high) / 2


def _all_by(entries: Sequence[float], moment: float, offsets: Sequence[float]) -> float:
    """The chance that all packets are there by a moment after the last one's mean."""
    chance = 1.0
    for before in offsets:
        chance *= bisect_right(entries, moment + before) / len(entries)
        if chance < 1e-6:
            break
    return chance
