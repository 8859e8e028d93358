"""Parameters of the kernel's qdiscs, in its own units, and the bytes of TCA_OPTIONS. Pure.

One value per kind, each with `encode` (what is sent: always all of it, since the kernel keeps what
a message leaves out) and `decode` (what a dump says). Source: linux/pkt_sched.h and the `_change`
and `_dump` functions of net/sched/sch_netem.c, sch_htb.c, sch_fifo.c, sch_codel.c, sch_red.c.
Must not know: links, handles, sockets.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field
from typing import ClassVar

from otter_agent.network.messages import attribute, attributes

WHOLE = 2**32 - 1
"""The chance 1, as netem counts."""
TICK_NS = 64
"""PSCHED_TICKS2NS: the unit of time of older fields."""
DISTANCE = 8192
"""NETEM_DIST_SCALE: one sigma in a jitter table."""

_U32, _U64, _S64 = struct.Struct("=I"), struct.Struct("=Q"), struct.Struct("=q")
_NETEM = struct.Struct("=6I")  # tc_netem_qopt: latency, limit, loss, gap, duplicate, jitter
_PAIR, _TRIPLE = struct.Struct("=2I"), struct.Struct("=3I")
_FOUR, _FIVE = struct.Struct("=4I"), struct.Struct("=5I")
_NETEM_RATE = struct.Struct("=IiIi")  # rate, packet_overhead, cell_size, cell_overhead
_SLOT = struct.Struct("=qqiiqq")  # min, max, packets, bytes, dist_delay, dist_jitter
_RATE = struct.Struct("=BBHhHI")  # tc_ratespec: cell_log, linklayer, overhead, align, mpu, rate
_HTB = struct.Struct("=12s12s5I")  # rate, ceil, buffer, cbuffer, quantum, level, prio
_HTB_GLOBAL = struct.Struct("=5I")  # version, rate2quantum, defcls, debug, direct_pkts
_RED = struct.Struct("=IIIBBBB")  # limit, qth_min, qth_max, Wlog, Plog, Scell_log, flags

_CORR, _DELAY_DIST, _REORDER, _CORRUPT, _LOSS, _NETEM_RATE32, _ECN, _RATE64 = range(1, 9)
_LATENCY64, _JITTER64, _SLOTS = 10, 11, 12
_LOSS_GI, _LOSS_GE = 1, 2
_HTB_PARMS, _HTB_INIT, _HTB_RATE64, _HTB_CEIL64 = 1, 2, 6, 7
_CODEL_TARGET, _CODEL_LIMIT, _CODEL_INTERVAL, _CODEL_ECN = 1, 2, 3, 4
_RED_PARMS, _RED_STAB, _RED_MAX_P = 1, 2, 3
_DRR_QUANTUM = 1
_NESTED = 0x8000
_ETHERNET = 1
"""tc_ratespec.linklayer: with it HTB needs no table of times (TCA_HTB_RTAB)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Netem:
    """sch_netem's parameters; what is left at its default has no effect.

    Attributes:
        limit: Packets in it at most.
        jitter_ns: What an entry of 8192 in the table means.
        table: Distribution of the jitter, s16 each. The kernel keeps the last one it was given,
            and never shows it: `tag` tells what it is.
        loss: Chance of loss; like all chances of 2**32 - 1.
        gilbert: p, r, h (chance of no loss while bad), k1 (of loss while good), instead.
        markov: p13, p31, p32, p14, p23, instead.
        rate: Bytes/s, 0 for none. A netem with a rate never reorders packets.
        tag: Any number below 2**29, kept for us in a field that has no effect at high rates.
        slot: Shortest and longest time in ns, packets and bytes in one (0: any).
        overhead: What it and all below it count beside each packet's own bytes; None: nothing.
            This is no option of its own, but the size table (TCA_STAB) of any qdisc.
    """

    kind: ClassVar[str] = "netem"
    limit: int = 1 << 30
    latency_ns: int = 0
    jitter_ns: int = 0
    table: bytes = field(default=b"", compare=False)
    loss: int = 0
    gilbert: tuple[int, ...] | None = None
    markov: tuple[int, ...] | None = None
    duplicate: int = 0
    corrupt: int = 0
    reorder: int = 0
    rate: int = 0
    tag: int = 0
    slot: tuple[int, int, int, int] = (0, 0, 0, 0)
    overhead: int | None = None

    def encode(self) -> bytes:
        """What follows the header of TCA_OPTIONS."""
        low = min(self.latency_ns // TICK_NS, WHOLE), min(self.jitter_ns // TICK_NS, WHOLE)
        gap = 1 if self.reorder else 0
        head = _NETEM.pack(low[0], self.limit, self.loss, gap, self.duplicate, low[1])
        parts = [
            head,
            attribute(_CORR, _TRIPLE.pack(0, 0, 0)),
            attribute(_REORDER, _PAIR.pack(self.reorder, 0)),
            attribute(_CORRUPT, _PAIR.pack(self.corrupt, 0)),
            attribute(_NETEM_RATE32, _NETEM_RATE.pack(min(self.rate, WHOLE), self.tag, 0, 0)),
            attribute(_LATENCY64, _S64.pack(self.latency_ns)),
            attribute(_JITTER64, _S64.pack(self.jitter_ns)),
            attribute(_SLOTS, _SLOT.pack(*self.slot, 0, 0)),
        ]
        if self.rate > WHOLE:
            parts.append(attribute(_RATE64, _U64.pack(self.rate)))
        if self.table:
            parts.append(attribute(_DELAY_DIST, self.table))
        if self.gilbert:
            parts.append(_loss(_LOSS_GE, _FOUR.pack(*self.gilbert)))
        elif self.markov:
            parts.append(_loss(_LOSS_GI, _FIVE.pack(*self.markov)))
        return b"".join(parts)

    @classmethod
    def decode(cls, data: bytes, overhead: int | None = None) -> Netem:
        """From a dump, which says the overhead elsewhere."""
        latency, limit, loss, gap, duplicate, jitter = _NETEM.unpack_from(data)
        at = dict(attributes(data, _NETEM.size))
        rate, tag, _, _ = _NETEM_RATE.unpack(at.get(_NETEM_RATE32, bytes(16)))
        model = dict(attributes(at.get(_LOSS, b""), 0))
        low, high, packets, size, _, _ = _SLOT.unpack(at.get(_SLOTS, bytes(_SLOT.size)))
        return cls(
            limit=limit,
            latency_ns=_number(_S64, at.get(_LATENCY64), latency * TICK_NS),
            jitter_ns=_number(_S64, at.get(_JITTER64), jitter * TICK_NS),
            loss=loss,
            gilbert=_FOUR.unpack(model[_LOSS_GE]) if _LOSS_GE in model else None,
            markov=_FIVE.unpack(model[_LOSS_GI]) if _LOSS_GI in model else None,
            duplicate=duplicate,
            corrupt=_PAIR.unpack(at.get(_CORRUPT, bytes(8)))[0],
            reorder=_PAIR.unpack(at.get(_REORDER, bytes(8)))[0] if gap else 0,
            rate=_number(_U64, at.get(_RATE64), rate),
            tag=tag,
            slot=(low, high, packets, size),
            overhead=overhead,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Htb:
    """sch_htb itself: everything goes to its only class.

    Attributes:
        overhead: As of `Netem`.
    """

    kind: ClassVar[str] = "htb"
    overhead: int | None = None

    def encode(self) -> bytes:
        """What follows the header of TCA_OPTIONS."""
        return attribute(_HTB_INIT, _HTB_GLOBAL.pack(3, 10, 1, 0, 0))

    @classmethod
    def decode(cls, data: bytes) -> Htb:
        """From a dump."""
        return cls()


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A class of HTB.

    Attributes:
        rate: Bytes/s.
        burst_ns: Lateness of timers that is made up for. The kernel counts it in 64 ns. It was
            measured when it was set: another measurement is no reason to change what is there.
    """

    kind: ClassVar[str] = "htb"
    rate: int
    burst_ns: int = field(default=1_000_000, compare=False)

    def encode(self) -> bytes:
        """What follows the header of TCA_OPTIONS."""
        spec = _RATE.pack(0, _ETHERNET, 0, 0, 0, min(self.rate, WHOLE))
        ticks = max(1, self.burst_ns // TICK_NS)
        parts = [attribute(_HTB_PARMS, _HTB.pack(spec, spec, ticks, ticks, 1514, 0, 0))]
        if self.rate > WHOLE:
            rate = _U64.pack(self.rate)
            parts += [attribute(_HTB_RATE64, rate), attribute(_HTB_CEIL64, rate)]
        return b"".join(parts)

    @classmethod
    def decode(cls, data: bytes) -> Share:
        """From a dump."""
        at = dict(attributes(data, 0))
        spec, _, ticks, *_ = _HTB.unpack(at[_HTB_PARMS])
        rate = _number(_U64, at.get(_HTB_RATE64), _RATE.unpack(spec)[-1])
        return cls(rate=rate, burst_ns=ticks * TICK_NS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drr:
    """sch_drr: its classes take turns."""

    kind: ClassVar[str] = "drr"

    def encode(self) -> bytes:
        """What follows the header of TCA_OPTIONS."""
        return b""

    @classmethod
    def decode(cls, data: bytes) -> Drr:
        """From a dump."""
        return cls()


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A class of DRR.

    Attributes:
        quantum: What it may send in a turn, in bytes as its queue counts them.
    """

    kind: ClassVar[str] = "drr"
    quantum: int

    def encode(self) -> bytes:
        """What follows the header of TCA_OPTIONS."""
        return attribute(_DRR_QUANTUM, _U32.pack(self.quantum))

    @classmethod
    def decode(cls, data: bytes) -> Turn:
        """From a dump."""
        return cls(quantum=_number(_U32, dict(attributes(data, 0)).get(_DRR_QUANTUM), 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class ByteQueue:
    """Drop-tail of so many bytes."""

    kind: ClassVar[str] = "bfifo"
    limit: int

    def encode(self) -> bytes:
        """What follows the header of TCA_OPTIONS."""
        return _U32.pack(self.limit)

    @classmethod
    def decode(cls, data: bytes) -> ByteQueue:
        """From a dump."""
        return cls(limit=_U32.unpack_from(data)[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class PacketQueue:
    """Drop-tail of so many packets."""

    kind: ClassVar[str] = "pfifo"
    limit: int

    def encode(self) -> bytes:
        """What follows the header of TCA_OPTIONS."""
        return _U32.pack(self.limit)

    @classmethod
    def decode(cls, data: bytes) -> PacketQueue:
        """From a dump."""
        return cls(limit=_U32.unpack_from(data)[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Codel:
    """CoDel; times in µs, of which the kernel keeps about one in a thousand."""

    kind: ClassVar[str] = "codel"
    limit: int
    target_us: int = 5_000
    interval_us: int = 100_000
    ecn: bool = False

    def encode(self) -> bytes:
        """What follows the header of TCA_OPTIONS."""
        values = (
            (_CODEL_TARGET, self.target_us),
            (_CODEL_LIMIT, self.limit),
            (_CODEL_INTERVAL, self.interval_us),
            (_CODEL_ECN, int(self.ecn)),
        )
        return b"".join(attribute(key, _U32.pack(value)) for key, value in values)

    @classmethod
    def decode(cls, data: bytes) -> Codel:
        """From a dump; the kernel's rounding of the two times is undone."""
        at = {key: _U32.unpack(value)[0] for key, value in attributes(data, 0)}
        return cls(
            limit=at[_CODEL_LIMIT],
            target_us=_rounded(at[_CODEL_TARGET]),
            interval_us=_rounded(at[_CODEL_INTERVAL]),
            ecn=bool(at.get(_CODEL_ECN, 0)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Red:
    """Random early detection, over a drop-tail queue of `limit` bytes."""

    kind: ClassVar[str] = "red"
    limit: int
    least: int
    most: int
    weight_log2: int
    chance: int
    """Of 2**32 - 1: what is dropped just below `most`."""
    idle_ns: int = field(compare=False)
    """How long an average packet takes at the link's rate: the average falls so while idle."""
    ecn: bool = False

    def encode(self) -> bytes:
        """What follows the header of TCA_OPTIONS."""
        cell_log, table = _idle_table(self.idle_ns / 1000, self.weight_log2)
        span_log2 = max(0, (self.most - self.least).bit_length() - 1)
        head = _RED.pack(
            self.limit, self.least, self.most, self.weight_log2, span_log2, cell_log, int(self.ecn)
        )
        return (
            attribute(_RED_PARMS, head)
            + attribute(_RED_STAB, table)
            + attribute(_RED_MAX_P, _U32.pack(self.chance))
        )

    @classmethod
    def decode(cls, data: bytes) -> Red:
        """From a dump, which doesn't hold how the average falls while idle."""
        at = dict(attributes(data, 0))
        limit, least, most, weight, _, _, flags = _RED.unpack(at[_RED_PARMS])
        return cls(
            limit=limit,
            least=least,
            most=most,
            weight_log2=weight,
            chance=_number(_U32, at.get(_RED_MAX_P), 0),
            idle_ns=0,
            ecn=bool(flags & 1),
        )


Leaf = ByteQueue | PacketQueue | Codel | Red
LEAVES: dict[str, type[Leaf]] = {kind.kind: kind for kind in (ByteQueue, PacketQueue, Codel, Red)}


def _loss(model: int, values: bytes) -> bytes:
    return attribute(_LOSS | _NESTED, attribute(model, values))


def _number(layout: struct.Struct, data: bytes | None, otherwise: int) -> int:
    return otherwise if data is None else int(layout.unpack(data)[0])


def _rounded(us: int) -> int:
    """CoDel keeps time in 1024 ns, rounded down (codel_time_t): shown a µs short at times."""
    return -(-us // 50) * 50


def _idle_table(packet_us: float, weight_log2: int) -> tuple[int, bytes]:
    """(Scell_log, TCA_RED_STAB): the average's halvings after an idle time of n << Scell_log µs.

    Source: tc_red_eval_idle_damping() of iproute2's tc/tc_red.c.
    """
    weight = 0.5**weight_log2
    per_us = -math.log2(1 - weight) / max(packet_us, 1e-3)
    longest_us = 31 / per_us
    cell_log = 0
    while cell_log < 31 and longest_us / (1 << cell_log) >= 512:
        cell_log += 1
    steps = (min(31, int(per_us * (n << cell_log) + 0.5)) for n in range(255))
    return cell_log, bytes([0, *list(steps)[1:], 31])
