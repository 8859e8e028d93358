"""What an end of a stream has seen: counts, bytes, and where the time of its messages went.

A message costs one append; times are added up when somebody asks, or for many at once. Latencies
are kept as counts per power of two of a microsecond: exact enough for a percentile within a factor
of two. Must not know: asyncio, sockets.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from net.short import Tally

BUCKETS = 40
"""Up to 2^39 µs, six days."""
_TIMES = 5
TOGETHER = _TIMES * 2048
_RATE_S = 0.9
"""Rates are those of so long, at the least."""
PARTS = ("output", "sending", "link", "queue", "total")
"""Where a message's time goes: made, queued, sent, received, taken; and from made to taken."""


class Latencies:
    """Seconds between two moments of messages."""

    __slots__ = ("counts", "most_s", "n", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * BUCKETS
        self.n = 0
        self.sum_s = 0.0
        self.most_s = 0.0

    def add(self, seconds: NDArray[np.float64]) -> None:
        """Some more; negative ones (two clocks) count as none."""
        seconds = np.maximum(seconds, 0.0)
        self.n += len(seconds)
        self.sum_s += float(seconds.sum())
        self.most_s = max(self.most_s, float(seconds.max()))
        _, exponents = np.frexp(np.floor(seconds * 1e6))
        counts = np.bincount(np.minimum(exponents, BUCKETS - 1), minlength=BUCKETS)
        self.counts = [a + int(b) for a, b in zip(self.counts, counts, strict=True)]

    def percentile(self, ratio: float) -> float:
        """Upper bound of the bucket in which that part of all lies, seconds; 0 without any."""
        wanted, seen = ratio * self.n, 0
        for at, count in enumerate(self.counts):
            seen += count
            if count and seen >= wanted:
                return min(2.0**at * 1e-6, self.most_s)
        return 0.0

    def summary(self) -> dict[str, float]:
        """For people and files."""
        return {
            "mean_s": self.sum_s / self.n if self.n else 0.0,
            "p50_s": self.percentile(0.5),
            "p99_s": self.percentile(0.99),
            "max_s": self.most_s,
        }


class EdgeStats(Tally):
    """One end of one stream.

    Attributes:
        stream: Its name.
        transport: How it travels: `tcp`, `udp` or `shm`.
        messages: Sent, or taken by the module.
        nbytes: Of these, on the wire.
        dropped: By the stream's policy.
        expired: Not wanted any more when their turn came.
        duplicates: Came again and were dropped.
        resent: Written again after a cut.
        reconnects: Cuts.
        waiting: Messages that wait now.
        extra: What only some transports count.
    """

    def __init__(self, stream: str, transport: str) -> None:
        self.stream, self.transport = stream, transport
        self.messages = self.nbytes = 0
        self.together = TOGETHER
        self.dropped = self.expired = self.duplicates = self.resent = self.reconnects = 0
        self.waiting = 0
        self.extra: dict[str, float] = {}
        self.latencies = {part: Latencies() for part in PARTS}
        self.times = []
        self._since = (0.0, 0, 0)
        self._rates = (0.0, 0.0)

    def sent(self, nbytes: int) -> None:
        """A message went out."""
        self.messages += 1
        self.nbytes += nbytes

    def refuse(self) -> None:
        """What came on it made no sense."""
        self.extra["refused"] = self.extra.get("refused", 0.0) + 1.0

    def add_up(self) -> None:
        """Add up the times of those that were taken."""
        if not self.times:
            return
        times = np.array(self.times).reshape(-1, _TIMES)
        self.times.clear()
        for part, seconds in zip(PARTS, np.diff(times).T, strict=False):
            self.latencies[part].add(seconds)
        self.latencies["total"].add(times[:, -1] - times[:, 0])

    def _rates_at(self, now: float) -> tuple[float, float]:
        """Messages and bytes per second, lately."""
        since, messages, nbytes = self._since
        past = now - since
        if not since or past < 0:  # the first time, or the clock was set
            self._since = (now, self.messages, self.nbytes)
        elif past >= _RATE_S:
            self._rates = ((self.messages - messages) / past, (self.nbytes - nbytes) / past)
            self._since = (now, self.messages, self.nbytes)
        return self._rates

    def summary(self, now: float) -> dict[str, Any]:
        """As JSON can say it; rates are those since it was asked for a second ago, or longer."""
        self.add_up()
        counts = ("messages", "dropped", "expired", "duplicates", "resent", "reconnects", "waiting")
        found: dict[str, Any] = {"stream": self.stream, "transport": self.transport}
        found |= {name: getattr(self, name) for name in counts}
        found["bytes"] = self.nbytes
        found["rate_per_s"], found["bytes_per_s"] = self._rates_at(now)
        found["latency"] = {p: each.summary() for p, each in self.latencies.items() if each.n}
        found["extra"] = dict(self.extra)
        return found
