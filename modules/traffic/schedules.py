"""When a sender sends how many bytes: constant, Poisson, on-off, replay. Pure; sizes are of IP.

Each is an iterator of (seconds since the start, bytes), for ever unless what is replayed ends.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

Packet = tuple[float, int]


def constant(rate_bps: float, size: int) -> Iterator[Packet]:
    """One packet after the other, evenly."""
    apart = size * 8 / rate_bps
    return ((number * apart, size) for number in itertools.count())


def poisson(rate_bps: float, size: int, seed: int) -> Iterator[Packet]:
    """Packets at random, each at any moment with the same chance: what many users send."""
    generator = np.random.default_rng(seed)
    at, mean = 0.0, size * 8 / rate_bps
    while True:
        yield at, size
        at += float(generator.exponential(mean))


def on_off(rate_bps: float, size: int, on_s: float, off_s: float, seed: int) -> Iterator[Packet]:
    """Constant for a while, silent for a while; both lengths exponential, with these means."""
    generator = np.random.default_rng(seed)
    at, apart = 0.0, size * 8 / rate_bps
    while True:
        until = at + float(generator.exponential(on_s))
        while at < until:
            yield at, size
            at += apart
        at = max(at, until) + float(generator.exponential(off_s))


def replay(packets: Sequence[Packet], speed: float, *, loop: bool) -> Iterator[Packet]:
    """What was recorded, `speed` times as fast; over and over again with `loop`."""
    start = 0.0
    while packets:
        for at, size in packets:
            yield start + at / speed, size
        if not loop:
            return
        # Begun anew one mean gap after the last packet.
        span = packets[-1][0] / speed
        start += span + (span / (len(packets) - 1) if len(packets) > 1 else 1.0)
