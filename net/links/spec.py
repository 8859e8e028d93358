"""What is asked of one direction of a link. Pure.

A packet meets the properties in this order, whichever driver makes them true:

    up? ─► loss ─► duplicate, corrupt ─► queue, drained at rate ─► delay + jitter, reorder ─► slot

Must not know: tc, netlink, asyncio, which driver will do it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Literal

from net.links.delivery import Delivery

Distribution = Literal["uniform", "normal", "pareto", "paretonormal", "table"]
Discipline = Literal["tail", "codel", "red"]
Value = float | int | str | bool | tuple[float, ...] | Delivery

TABLE_LIMIT = 16_384
"""Entries of a jitter table: what the kernel's netem takes (NETEM_DIST_MAX)."""
TABLE_RANGE = 1000.0
"""Largest entry of a jitter table: it is multiplied by a jitter, and has to stay a time."""
_LONGEST_S = 3600.0
_LONGEST_NAME = 200
_HEAVIEST = 1e6
_SHORTEST_SLOT_S = 1e-6
"""Clocks have to be able to add it up."""
_RATIOS = (
    *("loss_ratio", "loss_correlation", "jitter_correlation", "duplicate_ratio"),
    *("corrupt_ratio", "reorder_ratio", "reorder_correlation"),
)
_LARGEST = {
    "queue_s": (_LONGEST_S, "1h"),
    "queue_bytes": (1 << 40, "1TiB"),
    "queue_packets": (10**9, "10^9 packets"),
}
_CHAINS = {"loss_gilbert": 4, "loss_markov": 5}


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSpec:
    """Properties of one direction; None: not asked for.

    Order is kept whatever the jitter: a packet never overtakes another unless `reorder_ratio`
    says so. Bytes are those of IP packets, with `overhead_bytes` more on each.

    Attributes:
        delay_s: One-way delay, 0 to 3600 s.
        jitter_s: Standard deviation of the delay, at most `delay_s`; of `uniform`: half its width.
        jitter_distribution: `normal` unless said otherwise; no delay is below zero.
        jitter_table: With `table`: deviations from the delay in units of `jitter_s`, drawn with
            equal chance.
        jitter_correlation: Of a delay with the one before, 0 to 1.
        loss_ratio: Share of packets lost, 0 to 1.
        loss_correlation: Of a loss with the one before, 0 to 1.
        loss_gilbert: Gilbert-Elliott, instead of `loss_ratio`: chances per packet of going bad,
            of going good again, of loss while bad, of loss while good (tc-netem(8): p, r, 1-h,
            1-k).
        loss_markov: Four states, instead of `loss_ratio`: p13, p31, p32, p23, p14 of tc-netem(8).
        rate_bps: Bit/s of IP packets, over 0.
        overhead_bytes: What the link's layer adds to each packet, at `rate_bps`.
        queue_s: Longest wait in the link's queue at `rate_bps`. Where neither this nor one of the
            next two is asked for: 50 ms (with `red` 200 ms, with `codel` 500 ms), and ten full
            packets at least; see `net.links.queue`.
        queue_bytes: The queue's size in bytes instead.
        queue_packets: The queue's size in packets instead.
        queue_discipline: What is dropped: `tail`, what finds the queue full; `codel` (RFC 8289);
            `red` (Floyd and Jacobson 1993).
        ecn: Whether `codel` and `red` mark what can be marked instead of dropping it.
        duplicate_ratio: Share of packets that arrive twice.
        corrupt_ratio: Share of packets with one wrong bit.
        reorder_ratio: Share of packets that overtake those still delayed.
        reorder_correlation: Of that with the packet before, 0 to 1.
        slot_s: Packets leave only every so often, as on a shared radio; (shortest, longest).
        slot_bytes: At most so many leave in one slot; None: all that wait.
        up: False: everything is lost.
        medium: Name of what it shares its sending time with, one packet at a time: all directions
            of the mesh that name the same (`net.links.cell`). `rate_bps` is what it has while it
            sends, so all that it gets when the others are silent.
        medium_weight: Its part of the time that several want, against theirs; 1 unless said
            otherwise.
        delivery: Packets leave at the opportunities of a trace instead of evenly; `rate_bps` is
            then what these are on average, by which a queue in time is measured.
    """

    delay_s: float | None = None
    jitter_s: float | None = None
    jitter_distribution: Distribution | None = None
    jitter_table: tuple[float, ...] | None = None
    jitter_correlation: float | None = None
    loss_ratio: float | None = None
    loss_correlation: float | None = None
    loss_gilbert: tuple[float, ...] | None = None
    loss_markov: tuple[float, ...] | None = None
    rate_bps: float | None = None
    overhead_bytes: int | None = None
    queue_s: float | None = None
    queue_bytes: int | None = None
    queue_packets: int | None = None
    queue_discipline: Discipline | None = None
    ecn: bool | None = None
    duplicate_ratio: float | None = None
    corrupt_ratio: float | None = None
    reorder_ratio: float | None = None
    reorder_correlation: float | None = None
    slot_s: tuple[float, ...] | None = None
    slot_bytes: int | None = None
    up: bool | None = None
    medium: str | None = None
    medium_weight: float | None = None
    delivery: Delivery | None = None

    def problems(self) -> dict[str, str]:
        """Field name -> why its value makes no sense; empty if all is well."""
        wrong = {
            name: "must be a finite number"
            for name, value in self.asked().items()
            if any(isinstance(part, float) and not math.isfinite(part) for part in _parts(value))
        }
        if wrong:
            return wrong
        for name in _RATIOS:
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                wrong[name] = "must be between 0% and 100%"
        wrong |= self._delay_problems()
        wrong |= self._loss_problems()
        wrong |= self._queue_problems()
        wrong |= self._medium_problems()
        wrong |= self._delivery_problems()
        return wrong

    def asked(self) -> dict[str, Any]:
        """Only what was asked for, by field name."""
        return {name: v for name in _NAMES if (v := getattr(self, name)) is not None}

    # --- what is wrong ----------------------------------------------------------------------------

    def _delay_problems(self) -> dict[str, str]:
        wrong: dict[str, str] = {}
        if self.delay_s is not None and not 0 <= self.delay_s <= _LONGEST_S:
            wrong["delay_s"] = "must be between 0 and 1h"
        if self.jitter_s is not None:
            if self.jitter_s < 0:
                wrong["jitter_s"] = "must not be negative"
            elif self.jitter_s > (self.delay_s or 0.0):
                wrong["jitter_s"] = "must not be above the delay (a packet can't arrive early)"
        elif self.jitter_correlation is not None:
            wrong["jitter_correlation"] = "goes only with jitter"
        elif self.jitter_distribution is not None:
            wrong["jitter_distribution"] = "goes only with jitter"
        if (self.jitter_distribution == "table") != (self.jitter_table is not None):
            wrong["jitter_table"] = "goes together with the distribution `table`"
        elif self.jitter_table is not None and not 2 <= len(self.jitter_table) <= TABLE_LIMIT:
            wrong["jitter_table"] = f"must have 2 to {TABLE_LIMIT} numbers"
        elif self.jitter_table is not None and max(map(abs, self.jitter_table)) > TABLE_RANGE:
            wrong["jitter_table"] = f"must hold numbers of at most ±{TABLE_RANGE:g}"
        if self.slot_s is not None:
            slot = self.slot_s
            if len(slot) != 2 or not _SHORTEST_SLOT_S <= slot[0] <= slot[1] <= _LONGEST_S:
                wrong["slot_s"] = "must be a shortest and a longest time, from 1us to 1h"
        elif self.slot_bytes is not None:
            wrong["slot_bytes"] = "goes only with slots"
        if self.slot_bytes is not None and not 0 < self.slot_bytes <= 1 << 40:
            wrong["slot_bytes"] = "must be above 0 and at most 1TiB"
        if self.reorder_ratio and not self.delay_s:
            wrong["reorder_ratio"] = "goes only with a delay: without one nothing can be overtaken"
        return wrong

    def _loss_problems(self) -> dict[str, str]:
        wrong: dict[str, str] = {}
        models = ("loss_ratio", "loss_gilbert", "loss_markov")
        given = [name for name in models if getattr(self, name) is not None]
        if len(given) > 1:
            wrong[given[1]] = f"conflicts with {given[0]}: a link loses packets in one way"
        if self.loss_correlation is not None and self.loss_ratio is None:
            wrong["loss_correlation"] = "goes only with loss"
        for name, count in _CHAINS.items():
            chances = getattr(self, name)
            if chances is None:
                continue
            if len(chances) != count or not all(0 <= chance <= 1 for chance in chances):
                wrong[name] = f"must be {count} numbers between 0% and 100%"
            elif name == "loss_markov" and (chances[0] + chances[4] > 1 or sum(chances[1:3]) > 1):
                wrong[name] = "must leave a state with at most 100%: p13 + p14, p31 + p32"
        return wrong

    def _queue_problems(self) -> dict[str, str]:
        wrong: dict[str, str] = {}
        if self.rate_bps is not None and not 0 < self.rate_bps <= 1e13:
            wrong["rate_bps"] = "must be above 0 and at most 10tbit"
        if self.overhead_bytes is not None and not -1000 <= self.overhead_bytes <= 1000:
            wrong["overhead_bytes"] = "must be between -1000 and 1000"
        sizes = ("queue_s", "queue_bytes", "queue_packets")
        queues = [name for name in sizes if getattr(self, name) is not None]
        for name in queues:
            most, text = _LARGEST[name]
            if not 0 < getattr(self, name) <= most:
                wrong[name] = f"must be above 0 and at most {text}"
        if len(queues) > 1:
            wrong[queues[1]] = f"conflicts with {queues[0]}: a queue has one size"
        if self.ecn and self.queue_discipline not in ("codel", "red"):
            wrong["ecn"] = "goes only with the disciplines codel and red"
        return wrong

    def _medium_problems(self) -> dict[str, str]:
        wrong: dict[str, str] = {}
        if self.medium is not None and self.rate_bps is None:
            wrong["medium"] = "goes only with a rate: it shares the time that packets take"
        if self.medium is not None and not 0 < len(self.medium) <= _LONGEST_NAME:
            wrong["medium"] = f"must be a name of 1 to {_LONGEST_NAME} characters"
        if self.medium_weight is not None:
            if self.medium is None:
                wrong["medium_weight"] = "goes only with a shared medium"
            elif not 0 < self.medium_weight <= _HEAVIEST:
                wrong["medium_weight"] = f"must be above 0 and at most {_HEAVIEST:g}"
        return wrong

    def _delivery_problems(self) -> dict[str, str]:
        wrong: dict[str, str] = {}
        if self.delivery is not None:
            if self.rate_bps is None:
                wrong["delivery"] = "goes only with a rate: what it is on average"
            elif self.medium is not None:
                wrong["delivery"] = "goes not with a shared medium: that says whose turn it is"
            elif problem := self.delivery.problem():
                wrong["delivery"] = problem
        return wrong


_NAMES = tuple(f.name for f in fields(LinkSpec))
"""Looked up once: what changes often asks for them often."""


def _parts(value: Value) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)
