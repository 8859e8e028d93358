"""By how much delays differ: tables of deviations that both drivers draw from. Pure.

A table holds a distribution's quantiles at equal steps, so drawing an entry with equal chance draws
from the distribution. Entries are in units of `jitter_s`, within ±4 (what the kernel's netem can
take), and scaled to a mean of 0 and a standard deviation of exactly 1: those that iproute2 ships
for pareto and paretonormal have 0.82 and 0.83, and so jitter less than asked.

Source: iproute2's netem/normal.c, pareto.c (shape 3) and paretonormal.c (a quarter of normal and
three of pareto); NETEM_DIST_SCALE in linux/pkt_sched.h.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from statistics import NormalDist

from net.links.chance import Draw
from net.links.spec import Distribution, LinkSpec

Deviation = Callable[[], float]
"""The next packet's deviation from the delay, in seconds."""

DISTRIBUTIONS: tuple[Distribution, ...] = ("uniform", "normal", "pareto", "paretonormal")
"""Those that have a table."""
ENTRIES = 4096
BOUND = 4.0
"""Largest deviation in units of `jitter_s`."""
_SHAPE = 3.0
_NEARLY = 1 + 1e-5


def deviation(spec: LinkSpec, draw: Draw) -> Deviation | None:
    """How a direction's delays differ; None: they don't."""
    scale = spec.jitter_s
    if not scale:
        return None
    correlation = spec.jitter_correlation or 0.0
    kind = spec.jitter_distribution or "normal"
    if kind == "uniform" and not correlation:
        return lambda: scale * (2 * draw() - 1)
    entries = entries_of(spec)
    count = len(entries)
    if not correlation:
        return lambda: scale * entries[int(draw() * count)]
    return _correlated(entries, scale, correlation, draw)


def entries_of(spec: LinkSpec) -> Sequence[float]:
    """The table of a direction that has jitter."""
    if spec.jitter_table is not None:
        return spec.jitter_table
    return table(spec.jitter_distribution or "normal")


@cache
def table(distribution: Distribution) -> tuple[float, ...]:
    """A distribution's quantiles, in units of `jitter_s`."""
    steps = [(n + 0.5) / ENTRIES for n in range(ENTRIES)]
    if distribution == "uniform":
        return tuple(2 * step - 1 for step in steps)
    normal = [NormalDist().inv_cdf(step) for step in steps]
    pareto = [(1 - step) ** (-1 / _SHAPE) for step in steps]
    match distribution:
        case "normal":
            return _scaled(normal)
        case "pareto":
            return _scaled(pareto)
        case "paretonormal":
            heavy = [(4 / 3) * (x - 1.5) for x in pareto]
            return _scaled([(z + 3 * x) / 4 for z, x in zip(normal, heavy, strict=True)])
        case _:
            raise ValueError(f"{distribution}: has no table of its own")


def _scaled(values: list[float]) -> tuple[float, ...]:
    """Mean 0, standard deviation 1, within ±BOUND: cutting off changes both, so again and again."""
    for _ in range(50):
        mean = math.fsum(values) / len(values)
        spread = math.sqrt(math.fsum([(value - mean) ** 2 for value in values]) / len(values))
        values = [(value - mean) / spread for value in values]
        if max(max(values), -min(values)) <= BOUND * _NEARLY:
            break
        values = [min(BOUND, max(-BOUND, value)) for value in values]
    return tuple(min(BOUND, max(-BOUND, value)) for value in values)


def _correlated(
    entries: Sequence[float], scale: float, correlation: float, draw: Draw
) -> Deviation:
    """Each deviation correlated with the last, all together distributed as the table says.

    A normal variable remembers (autoregressive, of order 1); its quantile is the table's: a
    Gaussian copula. Averaging with the last, as the kernel does, narrows the distribution.
    """
    normal, entries = table("normal"), sorted(entries)
    count, fresh = len(entries), math.sqrt(1 - correlation * correlation)
    state = normal[int(draw() * ENTRIES)]

    def next_one() -> float:
        nonlocal state
        state = correlation * state + fresh * normal[int(draw() * ENTRIES)]
        share = 0.5 * (1 + math.erf(state / math.sqrt(2)))
        return scale * entries[min(count - 1, int(share * count))]

    return next_one
