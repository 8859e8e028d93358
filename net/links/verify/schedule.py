"""When to send how many bytes over one direction: polite, and enough to tell. Pure.

    base   far apart, so that no probe waits for another: delay, jitter
    many   small and close together, at most a quarter of the rate: loss, order, copies, damage
    rate   a tenth above the rate that was asked for, for a bounded time: rate

Probes are spaced at random, so that they fall on no beat of a timer's or a slot's (RFC 2330, 11.1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from net.links.spec import LinkSpec
from net.links.verify.expected import chain, widest_s
from net.links.verify.intervals import Numbers
from net.links.verify.records import IP_UDP_BYTES

Kind = Literal["base", "many", "rate"]

SMALLEST_BYTES = 20
"""Payload of a probe: what tells it from all others."""
LARGE_BYTES = 372
MANY_BYTES = 100
FULL_BYTES = 1372
"""Payload of the probes of a rate: with tunnels' headers it still fits an MTU of 1500."""
LOAD = 0.25
"""Of the rate that was asked for, by the probes that aren't to wait."""
ABOVE = 1.1
"""Of the rate that was asked for, by the probes that are to wait."""
_LEAST = 20
"""Probes without which nothing can be told."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How long one direction is probed at most, in seconds; and by how many packets.

    Attributes:
        base_s: By probes for the delay; four times that on links so slow that few fit in.
        many_s: By small probes; four times that likewise.
        many: Of these.
        rate_s: At the link's rate; four times that where it takes this long for 100 packets.
        rate_bytes: At the link's rate.
    """

    base_s: float
    many_s: float
    many: int
    rate_s: float
    rate_bytes: int


EFFORTS = {
    "quick": Effort(1.0, 1.0, 1_000, 1.0, 8_000_000),
    "normal": Effort(3.0, 3.0, 4_000, 3.0, 24_000_000),
    "thorough": Effort(20.0, 20.0, 40_000, 10.0, 200_000_000),
}


@dataclass(frozen=True, slots=True)
class Train:
    """Packets of one kind, as they are to be sent.

    Attributes:
        at_s: From the train's start.
        payloads: Bytes of each, without headers.
        linger_s: How long after the last one packets may still come.
    """

    kind: Kind
    at_s: Numbers
    payloads: NDArray[np.int64]
    linger_s: float

    @property
    def bytes(self) -> int:
        """Of IP packets."""
        return int(self.payloads.sum()) + IP_UDP_BYTES * len(self.payloads)


def linger_s(asked: LinkSpec) -> float:
    """How long a packet that meets no queue may be under way."""
    slot = asked.slot_s[1] if asked.slot_s else 0.0
    return 0.2 + 1.1 * (asked.delay_s or 0.0) + widest_s(asked) / 2 + 2 * slot


def base(asked: LinkSpec, effort: Effort, seed: int) -> Train:
    """Probes of which none waits for another."""
    two = bool(asked.rate_bps) and _takes_s(asked, SMALLEST_BYTES) > 1e-5
    largest = LARGE_BYTES if two else SMALLEST_BYTES
    apart = max(0.003, widest_s(asked), _takes_s(asked, largest) / LOAD)
    count = _count(apart, effort.base_s, 2000)
    payloads = np.full(count, SMALLEST_BYTES)
    if two:
        payloads[1::2] = LARGE_BYTES
    return Train("base", _at(apart, count, seed), payloads, linger_s(asked))


def many(asked: LinkSpec, effort: Effort, seed: int) -> Train:
    """Many small probes."""
    # Of a full packet nearly all is payload, in which damage is seen.
    payload = FULL_BYTES if asked.corrupt_ratio else MANY_BYTES
    apart = max(effort.many_s / effort.many, _takes_s(asked, payload) / LOAD)
    count = _count(apart, effort.many_s, effort.many)
    payloads = np.full(count, payload)
    return Train("many", _at(apart, count, seed), payloads, linger_s(asked))


def rate(asked: LinkSpec, effort: Effort) -> Train | None:
    """Probes a tenth above the rate that was asked for; None: none was."""
    if not asked.rate_bps:
        return None
    passing = max(0.05, 1 - chain(asked).ratio)
    pace = asked.rate_bps * ABOVE / passing
    payload = FULL_BYTES
    # A slow link takes too long for full packets; a hundred smaller ones tell the same.
    while payload > 72 and pace / 8 * effort.rate_s / (payload + IP_UDP_BYTES) < 100:
        payload //= 2
    apart = (payload + IP_UDP_BYTES) * 8 / pace
    most = max(_LEAST, effort.rate_bytes // (payload + IP_UDP_BYTES))
    count = min(_count(apart, effort.rate_s, most), most)
    waits = apart * count * (ABOVE / passing - 1)
    return Train(
        "rate",
        np.arange(count, dtype=float) * apart,
        np.full(count, payload),
        linger_s(asked) + waits,
    )


def _takes_s(asked: LinkSpec, payload: int) -> float:
    """Time that sending a probe bit by bit takes at the rate that was asked for."""
    if not asked.rate_bps:
        return 0.0
    return (payload + IP_UDP_BYTES + (asked.overhead_bytes or 0)) * 8 / asked.rate_bps


def _count(apart: float, within_s: float, most: int) -> int:
    """As many as fit; at least `_LEAST`, if they fit into four times as long."""
    fit = math.floor(within_s / apart) if apart > 0 else most
    least = min(_LEAST, math.floor(4 * within_s / apart))
    return max(2, least, min(fit, most))


def _at(apart: float, count: int, seed: int) -> Numbers:
    """Times that are `apart` on average, and at least half of that."""
    gaps = np.random.default_rng(seed).uniform(0.5, 1.5, count) * apart
    return np.asarray(np.cumsum(gaps) - gaps[0])
