"""What was sent over one direction and what came of it, and what can be counted there. Pure.

sequence   0      1      2      3      4        times in seconds, of one clock
sent_s    0.00   0.01   0.02   0.03   0.04
came_s    0.05    -     0.07   0.065  0.09      -: never came
lost           overtook 2
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from net.links.verify.intervals import Numbers

IP_UDP_BYTES = 28
"""Of the headers of IPv4 and UDP: RFC 791, RFC 768."""


@dataclass(frozen=True, slots=True)
class Probes:
    """One train of packets, in the order of sending.

    Attributes:
        sent_s: When each was sent.
        sizes: Bytes of each, as an IP packet.
        came_s: When each came first; NaN: never, or so damaged that it can't be told which it was.
        copies: How often each came.
        damaged: How many came with wrong bytes.
        unnamed: How many of these can't be told from those that never came.
        exact: Which have an exact time of sending: the sender wasn't interrupted.
    """

    sent_s: Numbers
    sizes: NDArray[np.int64]
    came_s: Numbers
    copies: NDArray[np.int64]
    damaged: int = 0
    unnamed: int = 0
    exact: NDArray[np.bool_] | None = None

    @property
    def count(self) -> int:
        """How many were sent."""
        return len(self.sent_s)

    @property
    def came(self) -> NDArray[np.bool_]:
        """Which came."""
        return ~np.isnan(self.came_s)

    @property
    def lost(self) -> int:
        """How many never came."""
        return max(0, self.count - int(self.came.sum()) - self.unnamed)

    @property
    def duplicates(self) -> int:
        """How many came more than once."""
        return int((self.copies > 1).sum())

    def delays(self, size: int | None = None) -> Numbers:
        """How long those took that came, and whose time of sending is known; of one size."""
        chosen = self.came if self.exact is None else self.came & self.exact
        if size is not None:
            chosen = chosen & (self.sizes == size)
        return np.asarray(self.came_s[chosen] - self.sent_s[chosen])

    def overtakers(self) -> int:
        """How many came before one that was sent before them, first copies only."""
        came = self.came_s[self.came]
        if len(came) < 2:
            return 0
        return int((came[1:] < np.maximum.accumulate(came)[:-1]).sum())

    def bursts(self) -> list[int]:
        """Lengths of the runs of packets that never came, one after the other."""
        lost = np.concatenate(([False], ~self.came, [False]))
        edges = np.flatnonzero(lost[1:] != lost[:-1])
        return [int(n) for n in edges[1::2] - edges[::2]]

    def arrivals(self) -> tuple[Numbers, NDArray[np.int64]]:
        """Times and sizes of what came, by time."""
        came = self.came
        order = np.argsort(self.came_s[came], kind="stable")
        return self.came_s[came][order], self.sizes[came][order]


def gathered(trains: Sequence[Probes]) -> Probes:
    """Several trains as one; what passes from one to the next (bursts, order) isn't real."""
    exact = [np.ones(p.count, bool) if p.exact is None else p.exact for p in trains]
    return Probes(
        np.concatenate([p.sent_s for p in trains]),
        np.concatenate([p.sizes for p in trains]),
        np.concatenate([p.came_s for p in trains]),
        np.concatenate([p.copies for p in trains]),
        sum(p.damaged for p in trains),
        sum(p.unnamed for p in trains),
        np.concatenate(exact),
    )


def base_delays(probes: Probes) -> Numbers:
    """Delays without the time that sending each packet bit by bit takes, from two sizes.

    Where the medians of two sizes differ, the time per byte is their slope, whether or not the
    driver charges it; so this rests on no rate that was asked for.
    """
    sizes = np.unique(probes.sizes)
    if len(sizes) < 2:
        return probes.delays()
    small, large = int(sizes[0]), int(sizes[-1])
    a, b = probes.delays(small), probes.delays(large)
    if not len(a) or not len(b):
        return np.concatenate((a, b))
    per_byte = max(0.0, float(np.median(b) - np.median(a)) / (large - small))
    return np.concatenate((a - per_byte * small, b - per_byte * large))


def drained(
    probes: Probes, overhead_bytes: int, margin_s: float | None = None
) -> tuple[Numbers, Numbers]:
    """Bits of each packet that came after another, and how long after: dispersion.

    Args:
        probes: A train that was sent faster than it can pass.
        overhead_bytes: Of the link's layer, on each packet.
        margin_s: Leave out packets that did not wait for the one before, by so much at least: where
            the sender was held up, the link was idle, which tells nothing of its rate. None: all.
    """
    came = probes.came
    order = np.argsort(probes.came_s[came], kind="stable")
    times, sent = probes.came_s[came][order], probes.sent_s[came][order]
    bits = np.asarray((probes.sizes[came][order] + overhead_bytes) * 8.0, float)
    if len(times) < 2:
        return np.empty(0), np.empty(0)
    chosen = np.ones(len(times) - 1, bool)
    if margin_s is not None:
        # It was sent before the one ahead of it can have left the queue.
        chosen = times[:-1] - sent[1:] > (times - sent).min() + margin_s
    return bits[1:][chosen], np.diff(times)[chosen]


def excess_bytes(probes: Probes, rate_bps: float, overhead_bytes: int) -> float:
    """Most bytes that came within any time beyond what `rate_bps` lets through in it."""
    times, sizes = probes.arrivals()
    if not len(times):
        return 0.0
    level = most = 0.0
    before = times[0]
    for now, size in zip(times.tolist(), (sizes + overhead_bytes).tolist(), strict=True):
        level = max(0.0, level - (now - before) * rate_bps / 8) + size
        most, before = max(most, level), now
    return most
