"""What is asked of one direction of a link. Pure.

Must not know: tc, netlink, asyncio, which driver will do it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSpec:
    """Properties of one direction; None: not asked for.

    Attributes:
        delay_s: One-way delay, 0 to 3600 s.
        jitter_s: Standard deviation of the delay, at most `delay_s`.
        loss_ratio: Share of packets lost, 0 to 1.
        rate_bps: Bit/s of IP packets, over 0.
        queue_s: Longest wait in the link's queue at `rate_bps`.
        queue_bytes: The queue's size in bytes instead.
        queue_packets: The queue's size in packets instead.
    """

    delay_s: float | None = None
    jitter_s: float | None = None
    loss_ratio: float | None = None
    rate_bps: float | None = None
    queue_s: float | None = None
    queue_bytes: int | None = None
    queue_packets: int | None = None

    def problems(self) -> dict[str, str]:
        """Field name -> why its value makes no sense; empty if all is well."""
        wrong: dict[str, str] = {}
        if self.delay_s is not None and not 0 <= self.delay_s <= 3600:
            wrong["delay_s"] = "must be between 0 and 1h"
        if self.jitter_s is not None:
            if self.jitter_s < 0:
                wrong["jitter_s"] = "must not be negative"
            elif self.jitter_s > (self.delay_s or 0.0):
                wrong["jitter_s"] = "must not be above the delay (a packet can't arrive early)"
        if self.loss_ratio is not None and not 0 <= self.loss_ratio <= 1:
            wrong["loss_ratio"] = "must be between 0% and 100%"
        if self.rate_bps is not None and not 0 < self.rate_bps <= 1e13:
            wrong["rate_bps"] = "must be above 0 and at most 10tbit"
        sizes = ("queue_s", "queue_bytes", "queue_packets")
        queues = [name for name in sizes if getattr(self, name) is not None]
        for name in queues:
            if getattr(self, name) <= 0:
                wrong[name] = "must be above 0"
        if len(queues) > 1:
            wrong[queues[1]] = f"conflicts with {queues[0]}: a queue has one size"
        return wrong

    def asked(self) -> dict[str, float | int]:
        """Only what was asked for, by field name."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {k: v for k, v in values.items() if v is not None}
