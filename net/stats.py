"""What an end of a stream has seen: counts, bytes, and where the time of its messages went.

A message costs one append; times are added up when somebody asks, or for many at once. Latencies
are kept as counts per power of two of a microsecond: exact enough for a percentile within a factor
of two. Must not know: asyncio, sockets.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from net.messages import Message

BUCKETS = 40
"""Up to 2^39 µs, six days."""
_TOGETHER = 4 * 2048


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
        for at, count in zip(*np.unique(exponents, return_counts=True), strict=True):
            self.counts[min(int(at), BUCKETS - 1)] += int(count)

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


class EdgeStats:
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
        self.dropped = self.expired = self.duplicates = self.resent = self.reconnects = 0
        self.waiting = 0
        self.extra: dict[str, float] = {}
        self.sending, self.link, self.queue = Latencies(), Latencies(), Latencies()
        self._times: list[float] = []

    def sent(self, nbytes: int) -> None:
        """A message went out."""
        self.messages += 1
        self.nbytes += nbytes

    def took(self, message: Message) -> None:
        """The module took a message."""
        self.messages += 1
        self.nbytes += message.size_bytes
        times = self._times
        times += (message.made, message.sent, message.received, message.taken)
        if len(times) >= _TOGETHER:
            self._add_up()

    def _add_up(self) -> None:
        if self._times:
            times = np.array(self._times).reshape(-1, 4)
            self._times.clear()
            self.sending.add(times[:, 1] - times[:, 0])
            self.link.add(times[:, 2] - times[:, 1])
            self.queue.add(times[:, 3] - times[:, 2])

    def summary(self) -> dict[str, Any]:
        """As JSON can say it."""
        self._add_up()
        counts = ("messages", "dropped", "expired", "duplicates", "resent", "reconnects", "waiting")
        found: dict[str, Any] = {"stream": self.stream, "transport": self.transport}
        found |= {name: getattr(self, name) for name in counts}
        found["bytes"] = self.nbytes
        for name in ("sending", "link", "queue"):
            latencies: Latencies = getattr(self, name)
            if latencies.n:
                found[name] = latencies.summary()
        return found | self.extra
