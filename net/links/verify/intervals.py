"""Confidence intervals, without a model of what is measured where that can be had. Pure.

Sources: order statistics for the median: David and Nagaraja, Order Statistics (2003), 7.1;
proportions: Clopper and Pearson, Biometrika 26 (1934), exact, never too short; batch means:
Law, Simulation Modeling and Analysis (2015), 9.5.3; percentile bootstrap: Efron and Tibshirani
(1993), 13; two-sample Kolmogorov-Smirnov with Stephens' correction for finite samples:
Stephens, JASA 69 (1974). scipy has all of them, and is 100 MB for five formulas.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

CONFIDENCE = 0.99
"""Of every interval: one of a hundred that are right is told to be wrong."""
BATCHES = 20
T_19 = 2.861
"""Quantile 0.995 of Student's t with `BATCHES` - 1 degrees of freedom."""
_Z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
_RESAMPLES = 500
_BISECTIONS = 50


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measured value, and between what the true one is, with `CONFIDENCE`.

    Attributes:
        n: How many observations it rests on.
    """

    value: float
    low: float
    high: float
    n: int

    def moved(self, by: float) -> Estimate:
        """With something known added."""
        return Estimate(self.value + by, self.low + by, self.high + by, self.n)

    def scaled(self, by: float) -> Estimate:
        """In another unit."""
        return Estimate(self.value * by, self.low * by, self.high * by, self.n)


def median(values: Numbers) -> Estimate | None:
    """Their median; None of no values. With fewer than 8 values the interval is their range.

    The two order statistics between which it lies are those of the binomial with chance 1/2.
    """
    n = len(values)
    if not n:
        return None
    ordered = np.sort(values)
    # The normal approximation of the ranks, rounded outwards: exact from 20 values on.
    half = _Z * math.sqrt(n) / 2
    low = max(0, math.floor(n / 2 - half) - 1)
    high = min(n - 1, math.ceil(n / 2 + half))
    return Estimate(float(np.median(ordered)), float(ordered[low]), float(ordered[high]), n)


def spread(values: Numbers, seed: int = 0) -> Estimate | None:
    """Their standard deviation; None of fewer than two. By bootstrap: nothing is normal here."""
    n = len(values)
    if n < 2:
        return None
    generator = np.random.default_rng(seed)
    drawn = [values[generator.integers(0, n, n)].std(ddof=1) for _ in range(_RESAMPLES)]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, (tail, 1 - tail))
    return Estimate(float(values.std(ddof=1)), float(low), float(high), n)


def mean(values: Numbers) -> Estimate | None:
    """The mean of `BATCHES` values, or of as many batches of more; None of fewer values."""
    n = len(values)
    if n < BATCHES:
        return None
    batches = np.array([part.mean() for part in np.array_split(values, BATCHES)])
    half = T_19 * float(batches.std(ddof=1)) / math.sqrt(BATCHES)
    value = float(values.mean())
    return Estimate(value, value - half, value + half, n)


def proportion(count: int, n: int, inflation: float = 1.0) -> Estimate | None:
    """The chance of something that happened `count` times of `n`; None of none.

    Args:
        count: How often.
        n: Of how many.
        inflation: How many times larger the variance is than of independent trials: losses that
            come in bursts tell less than as many single ones.
    """
    if not n:
        return None
    fewer = max(1, round(n / max(inflation, 1.0)))
    hits = min(fewer, count * fewer / n)
    tail = (1 - CONFIDENCE) / 2
    low = 0.0 if count == 0 else _solve(lambda p: 1 - _at_most(hits - 1, fewer, p), tail)
    high = 1.0 if count == n else 1 - _solve(lambda q: _at_most(hits, fewer, 1 - q), tail)
    return Estimate(count / n, low, high, n)


def _solve(rising: Any, target: float) -> float:
    """Where a function that rises over 0 to 1 reaches `target`."""
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < target else (low, middle)
    return (low + high) / 2


def _at_most(k: float, n: int, p: float) -> float:
    """Chance of `k` hits or fewer of `n`; between whole numbers the line between theirs."""
    if k < 0:
        # As the line from "none" down to certainly not, for what is less than one hit.
        return max(0.0, 1 + k) * (1 - p) ** n
    whole = math.floor(k)
    sum_, next_ = _binomial(whole, n, p)
    return min(1.0, sum_ + (k - whole) * next_)


def _binomial(k: int, n: int, p: float) -> tuple[float, float]:
    """Chance of at most `k` of `n`, and of `k + 1`."""
    if p <= 0:
        return 1.0, 0.0
    if p >= 1:
        return (1.0, 0.0) if k >= n else (0.0, float(k + 1 == n))
    j = np.arange(1, min(k + 1, n) + 1)
    logs = np.concatenate(([0.0], np.cumsum(np.log((n - j + 1) / j))))
    i = np.arange(len(logs))
    chances = np.exp(logs + i * math.log(p) + (n - i) * math.log1p(-p))
    following = float(chances[k + 1]) if k + 1 <= n else 0.0
    return float(chances[: k + 1].sum()), following


def same_distribution(a: Numbers, b: Numbers) -> tuple[float, float]:
    """Whether two samples may come from one distribution: the largest distance, and its p.

    Their medians are laid upon each other first: where it lies is another question.
    """
    a, b = np.sort(a - np.median(a)), np.sort(b - np.median(b))
    both = np.concatenate((a, b))
    distance = float(
        np.abs(
            np.searchsorted(a, both, side="right") / len(a)
            - np.searchsorted(b, both, side="right") / len(b)
        ).max()
    )
    root = math.sqrt(len(a) * len(b) / (len(a) + len(b)))
    x = (root + 0.12 + 0.11 / root) * distance
    if x < 0.2:  # the series below no longer converges, and is 1
        return distance, 1.0
    terms = ((-1) ** (k - 1) * math.exp(-2 * (k * x) ** 2) for k in range(1, 101))
    return distance, min(1.0, max(0.0, 2 * sum(terms)))
