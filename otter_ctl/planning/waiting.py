"""How long a message waits behind those of other streams that share its links: the median. Pure.

A stream that keeps a link busy for the part ρ of the time, s seconds a message, is met sending with
the chance ρ, and then has anything from 0 to s left to send. What is left of all of them adds up;
under load those who wait make others wait, as in an M/G/1 queue, 1 / (1 - Σ ρ) times as long
(Pollaczek and Khinchin; Kleinrock, Queueing Systems I). The median is read off that distribution,
which is worked out on a grid: unlike the mean it is 0 while less than half of all messages wait.

Where links have jitter, also few that wait move the median: it is then that of both together, of
which the waiting is what is more than jitter's alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

STEPS = 200
FEW_STEPS = 50
"""Where jitter blurs them anyway."""
NEAR_S = 1e-5


class Late(Protocol):
    """What jitter adds to a message: a distribution."""

    @property
    def median_s(self) -> float:
        """Half of all are so late, or less."""
        ...

    def by(self, moment_s: float) -> float:
        """The part of all that are so late, or less."""
        ...


@dataclass(frozen=True, slots=True)
class Other:
    """A stream that shares a link.

    Attributes:
        busy: The part of the time for which it keeps the link.
        service_s: What a message of it takes there.
    """

    busy: float
    service_s: float


def median_wait_s(others: Sequence[Other], late: Late | None = None) -> float:
    """Of a message that comes at any time.

    Args:
        others: Whom it may meet.
        late: Of what jitter adds to it by itself; None: it is always as late.
    """
    if late is None and math.prod(1 - min(other.busy, 1.0) for other in others) >= 0.5:
        return 0.0
    busy = sum(other.busy for other in others)
    steps = STEPS if late is None else FEW_STEPS
    step = sum(other.service_s for other in others) / steps
    if not step:
        return 0.0
    chances = [1.0] + [0.0] * steps
    for other in others:
        chances = _after(chances, min(other.busy, 1.0), max(1, round(other.service_s / step)))
    step /= max(1 - busy, 0.01)
    if late is None:
        return _middle(chances) * step
    return _both(chances, step, late) - late.median_s


def _both(chances: Sequence[float], step: float, late: Late) -> float:
    """The median of waiting and jitter together."""
    low, high = late.median_s, late.median_s + step * len(chances)
    while high - low > NEAR_S:
        middle = (low + high) / 2
        by_then = sum(c * late.by(middle - n * step) for n, c in enumerate(chances) if c)
        low, high = (middle, high) if by_then < 0.5 else (low, middle)
    return (low + high) / 2


def _after(chances: list[float], busy: float, width: int) -> list[float]:
    """The distribution once one more may be met, with up to `width` steps left."""
    sums = [0.0]
    for chance in chances:
        sums.append(sums[-1] + chance)
    spread = [(sums[at + 1] - sums[max(0, at + 1 - width)]) / width for at in range(len(chances))]
    return [(1 - busy) * was + busy * new for was, new in zip(chances, spread, strict=True)]


def _middle(chances: Sequence[float]) -> float:
    below, half = 0.0, sum(chances) / 2
    for number, chance in enumerate(chances):
        if below + chance >= half:
            return number + ((half - below) / chance - 0.5 if number else 0.0)
        below += chance
    return float(len(chances))
