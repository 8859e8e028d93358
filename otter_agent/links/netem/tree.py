"""From what is asked of a direction to the qdiscs that do it, and back. Pure.

                source's namespace                              target's namespace
    device ─ netem 4f01:  loss, duplicate, corrupt       device ─ clsact: all of it through
               └ htb 4f02: rate                            s.device (ifb)
                   └ 4f03:, 4f06: … the queue                 netem 4f04:  a packet's time at rate
                                                               └ netem 4f05: delay, jitter,
                                                                  │          reorder, slot
                                                                  └ netem 4f0a: or here

What comes out of HTB waits no more: so the queue holds what waits for the rate and nothing else,
by bytes or packets, and each packet comes out of it when the one before has been sent. How long
the packet itself takes at the rate is the second netem's part: HTB lets the first one go at once.
There what a late timer let go at once is spread again: so where all have the same delay, it comes
last, and a delay's late timer makes no burst, either. A half that isn't asked for isn't there;
one that is stays, without effect, as taking it away would lose packets. Only 4f01: may duplicate,
as it is the only netem of its device: kernels refuse one that does beside another in a tree.

Rejected: netem's own rate and limit (packets, and those in flight count too; at a change of rate
what waits goes on at the old one); TBF (a change of rate hands out a full bucket, and 500 Mbit/s
need one of tens of packets); HFSC (a change of rate lets a packet go at once); police before netem
(a change of rate hands out a full bucket; no CoDel, no RED); delay in the first netem (before the
queue: jitter drowns in it, and a fast sender fills the memory).

Must not know: netlink, namespaces.
"""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from net.links import jitter, loss, queue
from net.links.queue import PACKET_BYTES
from net.links.spec import Distribution, LinkSpec
from otter_agent.links.netem.lateness import USUAL_NS
from otter_agent.links.netem.options import (
    DISTANCE,
    TICK_NS,
    WHOLE,
    ByteQueue,
    Codel,
    Leaf,
    Netem,
    PacketQueue,
    Red,
    Share,
)

ETHERNET = 14
"""Bytes of a packet's header that qdiscs count, and IP doesn't."""
UNLIMITED = 1_250_000_000_000
"""Bytes/s of a link without a rate: 10 Tbit/s."""
_AT_ONCE = 1 << 62
"""Bytes/s at which no packet takes a nanosecond: netem keeps the order of packets at any rate."""
_ROOM_PACKETS = 178_956
"""In flight at most, beyond what the rate and the delay make: 256 MiB of full packets."""
_HUGE = 1 << 31
"""Of queues, in bytes or packets: half of what the kernel can count."""
_SLOWEST_BPS = 200
_SINGLE = (7, 8)
"""Of a packet's time: what is made up for without a second packet at once. All of it would let one
go; what is left is longer than HTB takes to look for the next."""
_EVERY_NS = 100_000
"""What about every timer of a virtual machine is late by: less must not be made up for."""
_SELDOM = 4
"""Times that may be `late_ns`, twice what 99 of 100 are late by: what is lost stays about 1 %."""
_DOWN = 1
_SIGMA_MAX_NS = 2**31 - 1
"""tabledist() of sch_netem.c takes an s32."""
_DISTRIBUTIONS: tuple[Distribution, ...] = ("uniform", "normal", "pareto", "paretonormal", "table")
_TABLE_MAX = 32767 / DISTANCE
_IDLE_FLIGHT = Netem(rate=_AT_ONCE, limit=_ROOM_PACKETS)
IDLE = Netem(rate=_AT_ONCE)
"""Of a second half that is there without any effect."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """Qdiscs of one direction; None: isn't there. `leaf` None in what is wanted: any will do."""

    entry: Netem | None = None
    share: Share | None = None
    leaf: Leaf | None = None
    wire: Netem | None = None
    flight: Netem | None = None
    pace: Netem | None = None


NOTHING = Tree()
Apart = Literal["", "up", "down"]


def wanted(
    spec: LinkSpec, have: Tree = NOTHING, apart: Apart = "", late_ns: int = USUAL_NS
) -> Tree:
    """What does as asked; the halves that `have` shows stay in any case.

    Args:
        spec: What is asked.
        have: What is there.
        apart: Whether its queue is that of a medium (`medium.py`), and who sends: a member, or the
            host in the middle, whose first half is then on the way to the medium.
        late_ns: By how much timers may be late without loss of rate.
    """
    counted = overhead(spec)
    chances = _entry(
        counted, spec.up is False, spec.loss_ratio, spec.loss_correlation, spec.loss_gilbert,
        spec.loss_markov, spec.duplicate_ratio, spec.corrupt_ratio,
    )  # fmt: skip
    rate = None if spec.rate_bps is None else bytes_per_s(spec)
    flight = _flight(spec)
    paced = rate if flight is not None and _steady(spec) else None
    own = None if apart else rate
    first = own is not None or apart == "down"
    source = first or have.entry is not None or chances != _no_chances(counted)
    target = rate is not None or have.wire is not None or flight is not None
    return Tree(
        entry=chances if source else None,
        share=_share(own, late_ns) if own is not None or have.share is not None else None,
        leaf=None if own is None else leaf(spec),
        wire=_wire(None if paced else rate, counted) if target else None,
        flight=flight or (None if have.flight is None else _IDLE_FLIGHT),
        pace=_wire(paced, None) if paced or have.pace is not None else None,
    )


def delays_or_paces(spec: LinkSpec) -> bool:
    """Whether it needs the second half, behind which packets come in."""
    return spec.rate_bps is not None or _flight(spec) is not None


def refusals(spec: LinkSpec) -> dict[str, str]:
    """Field name -> why netem can't do it."""
    wrong: dict[str, str] = {}
    if spec.rate_bps is not None and spec.rate_bps < _SLOWEST_BPS:
        wrong["rate_bps"] = "the kernel counts whole bytes a second: at least 200bit"
    if spec.jitter_s and _sigma(spec)[0] > _SIGMA_MAX_NS:
        wrong["jitter_s"] = "the kernel's netem has no jitter over 2.1s"
    for name, size in _sizes(spec).items():
        if size >= _HUGE:
            wrong[name] = "the kernel counts bytes in 32 bits: less than 2GiB"
    if spec.delivery is not None:
        wrong["delivery"] = (
            'the kernel has no opportunities one by one: with `bin` (`bin = "100ms"`) the trace is '
            "a rate"
        )
    scrambled = "the kernel's netem draws each {} by itself, whatever correlation it is told"
    if spec.jitter_s and spec.jitter_correlation:
        wrong["jitter_correlation"] = scrambled.format("delay")
    if spec.reorder_ratio and spec.reorder_correlation:
        wrong["reorder_correlation"] = "the kernel's netem reorders a smaller share when correlated"
    return wrong


def _sizes(spec: LinkSpec) -> dict[str, int]:
    """Of what is asked in bytes, or becomes bytes; what nobody asked for is as long as can be."""
    sizes: dict[str, int] = {}
    if spec.slot_bytes is not None:
        sizes["slot_bytes"] = spec.slot_bytes
    if spec.rate_bps is None:
        return sizes
    limit = queue.limit(spec)
    if spec.queue_packets is not None:
        in_bytes = spec.queue_discipline == "red"
        sizes["queue_packets"] = spec.queue_packets * (PACKET_BYTES if in_bytes else 1)
    elif spec.queue_discipline != "codel":
        asked = [name for name in ("queue_s", "queue_bytes") if getattr(spec, name) is not None]
        sizes |= dict.fromkeys(asked, limit.bytes or 0)
    return sizes


# --- the parts ------------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def _entry(
    overhead: int,
    down: bool,
    loss_ratio: float | None,
    correlation: float | None,
    chain: tuple[float, ...] | None,
    markov: tuple[float, ...] | None,
    duplicate: float | None,
    corrupt: float | None,
) -> Netem:
    tag, lost = (_DOWN, WHOLE) if down else (0, _chance(loss_ratio))
    states = None
    if markov is not None:
        p13, p31, p32, p23, p14 = map(_chance, markov)
        states = (p13, p31, p32, p14, p23)
    if loss_ratio and correlation and loss_ratio < 1:
        # The kernel's own correlation averages random numbers, and so loses hardly anything.
        chain = loss.correlated(loss_ratio, correlation)
    gilbert = None
    if chain is not None:
        p, r, while_bad, while_good = map(_chance, chain)
        gilbert = (p, r, WHOLE - while_bad, while_good)
    one_by_one = down or (gilbert is None and states is None)
    return Netem(
        loss=lost if one_by_one else 0,
        gilbert=None if down else gilbert,
        markov=None if down else states,
        duplicate=_chance(duplicate),
        corrupt=_chance(corrupt),
        tag=tag,
        overhead=overhead,
    )


@lru_cache(maxsize=64)
def _no_chances(overhead: int) -> Netem:
    return Netem(overhead=overhead)


def _share(rate: int | None, late_ns: int) -> Share:
    return Share(rate=UNLIMITED) if rate is None else share(rate, late_ns)


def share(rate: int, late_ns: int) -> Share:
    """Bytes/s, and what its timer may be late by without loss of rate: more would be a burst.

    Nearly the time of a packet, where few timers are late by more: so HTB lets one go at a time,
    which makes two with the one that the last netem holds then. At faster rates, and where timers
    are later, `late_ns`: one at a time would be less than the rate.
    """
    single_ns = PACKET_BYTES * 10**9 // rate * _SINGLE[0] // _SINGLE[1]
    single = single_ns >= _EVERY_NS and single_ns * _SELDOM >= late_ns
    burst_ns = single_ns if single else max(late_ns, single_ns)
    return Share(rate=rate, burst_ns=burst_ns // TICK_NS * TICK_NS)


@lru_cache(maxsize=1024)
def _wire(rate: int | None, overhead: int | None) -> Netem:
    """Without a rate, too, it keeps what comes behind what the rate before still holds."""
    return Netem(rate=_AT_ONCE if rate is None else rate, overhead=overhead)


def _steady(spec: LinkSpec) -> bool:
    """Whether all take the same time: those that don't may come faster than the rate, as asked."""
    return not (spec.jitter_s or spec.reorder_ratio or spec.slot_s)


def _flight(spec: LinkSpec) -> Netem | None:
    """None: without any effect."""
    sigma_ns, table, tag = (0, b"", 0)
    if spec.jitter_s:
        sigma_ns, table, tag = _sigma(spec)
    delay_s = spec.delay_s or 0.0
    slot = (0, 0, 0, 0)
    if spec.slot_s is not None:
        slot = (_ns(spec.slot_s[0]), _ns(spec.slot_s[1]), 0, min(spec.slot_bytes or 0, _HUGE - 1))
    if not delay_s and not sigma_ns and not any(slot):
        return None
    return Netem(
        limit=_room(spec),
        latency_ns=_ns(delay_s),
        jitter_ns=sigma_ns,
        table=table,
        reorder=_chance(spec.reorder_ratio),
        rate=_AT_ONCE,
        tag=tag,
        slot=slot,
    )


def _room(spec: LinkSpec) -> int:
    """Packets in flight: even small ones, at the link's rate."""
    longest_s = (spec.delay_s or 0.0) + 4 * (spec.jitter_s or 0.0)
    return min(_HUGE, max(_ROOM_PACKETS, math.ceil(longest_s * (spec.rate_bps or 0) / 8 / 64)))


def bytes_per_s(spec: LinkSpec) -> int:
    """The rate as the kernel has it."""
    return max(1, round((spec.rate_bps or 0) / 8))


def overhead(spec: LinkSpec) -> int:
    """What qdiscs are to count on top of a packet with its Ethernet header."""
    return (spec.overhead_bytes or 0) - ETHERNET


def leaf(spec: LinkSpec) -> Leaf:
    """What waits for the rate."""
    limit = queue.limit(spec)
    size = limit.bytes if limit.bytes is not None else (limit.packets or 1) * PACKET_BYTES
    ecn = bool(spec.ecn)
    if spec.queue_discipline == "codel":
        packets = limit.packets or math.ceil(size / PACKET_BYTES)
        return Codel(limit=min(packets, _HUGE), ecn=ecn)
    size = min(size, _HUGE)
    if spec.queue_discipline == "red":
        red = queue.red(spec, _HUGE)
        return Red(
            limit=size,
            least=red.min_bytes,
            most=red.max_bytes,
            weight_log2=red.weight_log2,
            chance=_chance(red.ratio),
            idle_ns=round(red.average_bytes * 8e9 / (spec.rate_bps or 1)),
            ecn=ecn,
        )
    if limit.packets is not None:
        return PacketQueue(limit=min(limit.packets, _HUGE))
    return ByteQueue(limit=size)


def _sigma(spec: LinkSpec) -> tuple[int, bytes, int]:
    """What an entry of 8192 means in ns, the table, and the tag that tells it from others."""
    kind = spec.jitter_distribution or "normal"
    table, most = _table(kind, spec.jitter_table)
    tag = 8 * (zlib.crc32(table) >> 6) + _DISTRIBUTIONS.index(kind)
    return max(1, round((spec.jitter_s or 0.0) * 1e9 * most)), table, tag


@lru_cache(maxsize=64)
def _table(kind: Distribution, own: tuple[float, ...] | None) -> tuple[bytes, float]:
    """A table in the kernel's numbers, and how much one sigma of it is in `jitter_s`.

    The largest deviation becomes the largest number, so nothing is cut off or coarse.
    """
    spec = LinkSpec(jitter_s=1.0, jitter_distribution=kind, jitter_table=own)
    entries = jitter.entries_of(spec)
    most = max(max(map(abs, entries)), 1e-9) / _TABLE_MAX
    numbers = [round(entry / most * DISTANCE) for entry in entries]
    return struct.pack(f"={len(numbers)}h", *numbers), most


# --- back -----------------------------------------------------------------------------------------


def spec_of(tree: Tree) -> LinkSpec:
    """What qdiscs do, in the terms of links. Pure numbers: a queue is one of bytes or packets."""
    values: dict[str, object] = {}
    if tree.entry is not None:
        values |= _entry_spec(tree.entry)
    if tree.share is not None and tree.share.rate != UNLIMITED:
        values |= {"rate_bps": tree.share.rate * 8.0} | _leaf_spec(tree.leaf)
        if tree.entry is not None and tree.entry.overhead not in (None, -ETHERNET):
            values["overhead_bytes"] = (tree.entry.overhead or 0) + ETHERNET
    if tree.flight is not None:
        values |= _flight_spec(tree.flight)
    return LinkSpec(**values)  # type: ignore[arg-type]


def _entry_spec(entry: Netem) -> dict[str, object]:
    values: dict[str, object] = {}
    if entry.tag & _DOWN:
        values["up"] = False
    elif entry.gilbert is not None:
        p, r, h, k1 = entry.gilbert
        values["loss_gilbert"] = (_ratio(p), _ratio(r), _ratio(WHOLE - h), _ratio(k1))
    elif entry.markov is not None:
        p13, p31, p32, p14, p23 = map(_ratio, entry.markov)
        values["loss_markov"] = (p13, p31, p32, p23, p14)
    elif entry.loss:
        values["loss_ratio"] = _ratio(entry.loss)
    for name, share in (("duplicate_ratio", entry.duplicate), ("corrupt_ratio", entry.corrupt)):
        if share:
            values[name] = _ratio(share)
    return values


def _flight_spec(flight: Netem) -> dict[str, object]:
    values: dict[str, object] = {}
    if flight.latency_ns:
        values["delay_s"] = flight.latency_ns / 1e9
    if flight.jitter_ns:
        values |= _jitter_spec(flight)
    if flight.reorder:
        values["reorder_ratio"] = _ratio(flight.reorder)
    if any(flight.slot):
        values["slot_s"] = (flight.slot[0] / 1e9, flight.slot[1] / 1e9)
        if flight.slot[3]:
            values["slot_bytes"] = flight.slot[3]
    return values


def _jitter_spec(flight: Netem) -> dict[str, object]:
    """The kernel doesn't show its table: the tag names the distribution, a user's own is lost."""
    number = flight.tag % 8
    kind = _DISTRIBUTIONS[number] if number < len(_DISTRIBUTIONS) else "normal"
    if kind == "table":
        return {"jitter_s": flight.jitter_ns / 1e9, "jitter_distribution": "table"}
    most = _table(kind, None)[1]
    return {"jitter_s": flight.jitter_ns / 1e9 / most, "jitter_distribution": kind}


def _leaf_spec(leaf: Leaf | None) -> dict[str, object]:
    match leaf:
        case ByteQueue(limit=size):
            return {"queue_bytes": size}
        case PacketQueue(limit=packets):
            return {"queue_packets": packets}
        case Codel(limit=packets, ecn=ecn):
            return {"queue_packets": packets, "queue_discipline": "codel", "ecn": ecn}
        case Red(limit=size, ecn=ecn):
            return {"queue_bytes": size, "queue_discipline": "red", "ecn": ecn}
    return {}


def _chance(ratio: float | None) -> int:
    """The kernel's chance; one that isn't 0 stays so."""
    return 0 if not ratio else max(1, round(ratio * WHOLE))


def _ratio(chance: int) -> float:
    return chance / WHOLE


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
