"""What of the packets of one sender arrived, and what a packet tells. Pure."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

HEAD = struct.Struct("!4sIQQ")
"""Mark, which run of the sender, number, time of sending in ns since 1970."""
MARK = b"OTRF"
IP_UDP_BYTES = 28
_WINDOW = 4096
"""Numbers that are remembered, to tell a late packet from one that came twice."""


@dataclass(slots=True)
class Arrived:
    """Of one run of one sender."""

    packets: int = 0
    bytes: int = 0
    """Of IP packets."""
    copies: int = 0
    late: int = 0
    """That came after one that was sent later."""
    first_s: float = 0.0
    last_s: float = 0.0
    delay_sum_s: float = 0.0
    delay_max_s: float = 0.0
    _highest: int = -1
    _recent: dict[int, None] = field(default_factory=dict)

    def note(self, number: int, sent_s: float, now_s: float, size: int) -> None:
        """Take note of a packet."""
        if number in self._recent:
            self.copies += 1
            return
        self._recent[number] = None
        if len(self._recent) > _WINDOW:
            del self._recent[next(iter(self._recent))]
        self.late += number < self._highest
        self._highest = max(self._highest, number)
        self.first_s = self.first_s or now_s
        self.last_s = now_s
        self.packets += 1
        self.bytes += size
        delay = max(0.0, now_s - sent_s)
        self.delay_sum_s += delay
        self.delay_max_s = max(self.delay_max_s, delay)

    @property
    def lost(self) -> int:
        """Packets before the last that came which never came."""
        return max(0, self._highest + 1 - self.packets)

    def report(self) -> dict[str, Any]:
        """As it goes into the file."""
        took = self.last_s - self.first_s
        return {
            "packets": self.packets,
            "bytes": self.bytes,
            "lost": self.lost,
            "copies": self.copies,
            "late": self.late,
            "rate_bps": self.bytes * 8 / took if took > 0 else 0.0,
            "delay_mean_s": self.delay_sum_s / self.packets if self.packets else 0.0,
            "delay_max_s": self.delay_max_s,
        }
