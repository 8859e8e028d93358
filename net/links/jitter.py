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
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from functools import cache
from itertools import accumulate
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
    pareto = [(1 - step) ** (-1 / _SHAPE) for step in steps]
    match distribution:
        case "normal":
            quantile = NormalDist().inv_cdf
            return _scaled([quantile(step) for step in steps])
        case "pareto":
            return _scaled(pareto)
        case "paretonormal":
            heavy = [(4 / 3) * (x - 1.5) for x in pareto]
            both = zip(map(NormalDist().inv_cdf, steps), heavy, strict=True)
            return _scaled([(z + 3 * x) / 4 for z, x in both])
        case _:
            raise ValueError(f"{distribution}: has no table of its own")


def _scaled(values: Sequence[float]) -> tuple[float, ...]:
    """Mean 0, standard deviation 1, within ±BOUND: cutting off changes both, so again and again.

    Values are in order: those cut off are the first and the last ones, and sums of the others
    follow from sums of all up to each, so that a helper starts 30 ms sooner than by adding all up.
    """
    count = len(values)
    sums = list(accumulate(values, initial=0.0))
    squares = list(accumulate((value * value for value in values), initial=0.0))
    low, high, first, last = 0, count, values[0], values[-1]  # what is before low, from high on
    shift, scale = 0.0, 1.0  # those between are (value - shift) / scale
    for _ in range(50):
        inner, total = high - low, sums[high] - sums[low]
        square = squares[high] - squares[low] - 2 * shift * total + inner * shift * shift
        outer = count - high
        mean = ((total - inner * shift) / scale + low * first + outer * last) / count
        mean_square = (square / scale**2 + low * first**2 + outer * last**2) / count
        spread = math.sqrt(mean_square - mean * mean)
        shift, scale = shift + mean * scale, scale * spread
        first, last = (first - mean) / spread, (last - mean) / spread
        if max(last, -first) <= BOUND * _NEARLY:
            break
        first, last = max(-BOUND, first), min(BOUND, last)
        low = max(low, bisect_left(values, shift - BOUND * scale))
        high = min(high, bisect_right(values, shift + BOUND * scale))
    between = [(value - shift) / scale for value in values[low:high]]
    scaled = (*(first,) * low, *between, *(last,) * (count - high))
    return tuple(min(BOUND, max(-BOUND, value)) for value in scaled)


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
