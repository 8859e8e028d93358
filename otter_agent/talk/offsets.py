"""By how much another clock is ahead of this one, of questions and answers. Pure.

    there        t1 ── t2           offset = ((t1 − t0) + (t2 − t3)) / 2
                ╱        ╲          error <= ((t3 − t0) − (t2 − t1)) / 2, whichever way took longer
    here      t0          t3

The answer with the least error says most; what it says grows older, and clocks drift apart
meanwhile. One that contradicts what was found before tells that a clock was set: what is older says
nothing any more. Must not know: who answers, any clock.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from net.timebase import DRIFT

KEPT = 64
RESOLUTION_S = 1e-6
"""Less than this no error is: clocks are read and written to the microsecond."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """The other clock is `offset_s` ahead, give or take `error_s`."""

    offset_s: float
    error_s: float


EXACT = Estimate(0.0, 0.0)
"""Of a clock and itself."""


def of_times(t0: float, t1: float, t2: float, t3: float, took_s: float) -> Estimate | None:
    """One question and its answer.

    Args:
        t0: When it was asked, by the clock here.
        t1: When it came there, by the clock there.
        t2: When it was answered, by the clock there.
        t3: When the answer came, by the clock here.
        took_s: How long it took here, by a clock that nobody sets.

    Returns:
        None: it says nothing, as a clock was set meanwhile.
    """
    way_s = took_s - (t2 - t1)
    if way_s < -RESOLUTION_S or t2 < t1 or abs((t3 - t0) - took_s) > 1e-3:
        return None
    return Estimate(((t1 - t0) + (t2 - t3)) / 2, max(way_s / 2, 0.0) + RESOLUTION_S)


@dataclass(frozen=True, slots=True)
class _Sample:
    estimate: Estimate
    at_s: float

    def error_at(self, now_s: float) -> float:
        return self.estimate.error_s + DRIFT * (now_s - self.at_s)


class Samples:
    """Of one other clock; times are those of a clock that nobody sets."""

    def __init__(self) -> None:
        self._kept: deque[_Sample] = deque(maxlen=KEPT)

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, estimate: Estimate, now_s: float) -> bool:
        """One more; whether it contradicts all before: a clock was set."""
        best = self.best(now_s)
        apart = best is not None and (
            abs(best.offset_s - estimate.offset_s) > best.error_s + estimate.error_s
        )
        if apart:
            self._kept.clear()
        self._kept.append(_Sample(estimate, now_s))
        return apart

    def best(self, now_s: float) -> Estimate | None:
        """What is known by now; None: nothing."""
        if not self._kept:
            return None
        sample = min(self._kept, key=lambda one: one.error_at(now_s))
        return Estimate(sample.estimate.offset_s, sample.error_at(now_s))
