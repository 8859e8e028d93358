"""Whether a direction is what was asked for. Pure.

A value is out of tolerance only if its whole confidence interval is: with few probes a link
passes that cannot be told from a right one, and `n` and the interval say how much that means.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from net.links.spec import LinkSpec
from net.links.verify import intervals, records
from net.links.verify.expected import Chain, chain, deviations
from net.links.verify.intervals import BATCHES, CONFIDENCE, Estimate
from net.links.verify.records import Probes
from net.links.verify.schedule import FULL_BYTES, Kind
from net.links.verify.tolerances import TOLERANCES, Tolerance

UNTOLD = "too few probes came back"
_SLOWEST = 1.02
"""Above the rate that was asked for: what has to be sent for the rate to be told."""
_LEAST_JITTER_S = 0.0005
"""Below this the machine's own unsteadiness counts in a distribution."""
_LEAST_SAMPLE = 30
_UNSTEADY_S = 0.0002
_WAITED = 0.3
"""Share of a rate's probes that have to have waited for it to be told by them alone."""
_BY_TRACE = "a trace says when packets leave: not judged"
_ETHERNET_BYTES = 14
_HEADERS_BYTES = _ETHERNET_BYTES + records.IP_UDP_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One property of one direction.

    Attributes:
        property: As the topology calls it.
        asked: In its SI unit; None: nothing was asked.
        estimate: What was measured; None: that could not be.
        tolerance: How far off is still right.
        ok: False: it isn't what was asked for.
        note: What else is to be known.
    """

    property: str
    asked: float | None
    estimate: Estimate | None
    tolerance: float = 0.0
    ok: bool = True
    note: str = ""


@dataclass(frozen=True, slots=True)
class Measured:
    """What probing one direction brought.

    Attributes:
        trains: By kind.
        beneath_s: What the same way takes with no link on it, for the median.
        send_bps: How fast the rate's probes were sent.
    """

    trains: Mapping[Kind, Probes]
    beneath_s: float = 0.0
    send_bps: float = math.inf


@dataclass(slots=True)
class Judge:
    """Judges by tolerances."""

    tolerances: Mapping[str, Tolerance] = field(default_factory=lambda: TOLERANCES)
    seed: int = 0

    def findings(self, asked: LinkSpec, measured: Measured) -> list[Finding]:
        """All that can be told of a direction, by property."""
        shaped = bool(asked.asked())
        many = measured.trains["many"]
        if asked.up is False:
            return [self._loss(LinkSpec(loss_ratio=1.0), many, shaped=True)]
        found = self._times(asked, measured)
        found.append(self._loss(asked, many, shaped=shaped))
        found += self._bursts(asked, many)
        found += self._rate(asked, measured)
        found += self._mishaps(asked, many, shaped=shaped)
        if asked.delivery is not None:
            return [replace(one, ok=True, note=_BY_TRACE) for one in found]
        return found

    def verdict(
        self,
        name: str,
        asked: float | None,
        estimate: Estimate | None,
        note: str = "",
        more: float = 0.0,
    ) -> Finding:
        """A finding, judged if anything was asked for; `more`: added to the tolerance."""
        if asked is None:
            return Finding(property=name, asked=None, estimate=estimate, note=note)
        tolerance = self.tolerances[name].of(asked) + more
        if estimate is None:
            return Finding(
                property=name, asked=asked, estimate=None, tolerance=tolerance, ok=False,
                note=note or UNTOLD,
            )  # fmt: skip
        ok = estimate.low <= asked + tolerance and estimate.high >= asked - tolerance
        return Finding(
            property=name, asked=asked, estimate=estimate, tolerance=tolerance, ok=ok, note=note
        )

    # --- by property --------------------------------------------------------------------------

    def _times(self, asked: LinkSpec, measured: Measured) -> list[Finding]:
        delays = records.base_delays(measured.trains["base"]) - measured.beneath_s
        if asked.reorder_ratio:  # those that overtake have no delay: tc-netem(8)
            delays = delays[delays > (asked.delay_s or 0.0) / 2]
        model = deviations(asked)
        note = ""
        middle = None if asked.delay_s is None else asked.delay_s
        if model is not None and middle is not None:
            middle += float(np.median(model))
        estimate = intervals.median(delays)
        if asked.slot_s and estimate is not None:
            middle, note = None, "waits for slots, too: not judged"
        found = [self.verdict("delay", middle, estimate, note)]
        if asked.slot_s:
            return found
        spread = intervals.spread(delays, self.seed)
        if not asked.jitter_s:
            return [*found, Finding(property="jitter", asked=None, estimate=spread)]
        wanted = None if model is None else float(model.std())
        found.append(self.verdict("jitter", wanted, spread))
        if model is not None and not asked.jitter_correlation:
            found += self._shape(asked.jitter_s, delays, model)
        return found

    def _shape(
        self, jitter_s: float, delays: intervals.Numbers, model: intervals.Numbers
    ) -> list[Finding]:
        if jitter_s < _LEAST_JITTER_S or len(delays) < _LEAST_SAMPLE:
            return []
        distance, chance = intervals.same_distribution(delays, model)
        estimate = Estimate(distance, distance, distance, len(delays))
        ok = chance >= 1 - CONFIDENCE
        note = f"Kolmogorov-Smirnov, p = {chance:.2g}"
        return [Finding(property="jitter-shape", asked=0.0, estimate=estimate, ok=ok, note=note)]

    def _loss(self, asked: LinkSpec, many: Probes, *, shaped: bool) -> Finding:
        model = chain(asked)
        estimate = intervals.proportion(many.lost, many.count, model.inflation)
        more, note = _header_damage(asked, many)
        return self.verdict("loss", model.ratio if shaped else None, estimate, note, more)

    def _bursts(self, asked: LinkSpec, many: Probes) -> list[Finding]:
        model: Chain = chain(asked)
        if len(model.loss) < 2 or not model.burst:
            return []
        lengths = np.array(many.bursts(), float)
        # Geometric, or nearly: the deviation is the mean. By batches as soon as there are enough.
        estimate = intervals.mean(lengths)
        if estimate is None and len(lengths):
            value = float(lengths.mean())
            half = 2.58 * max(value, model.burst) / math.sqrt(len(lengths))
            estimate = Estimate(value, value - half, value + half, len(lengths))
        return [self.verdict("loss-burst", model.burst, estimate)]

    def _rate(self, asked: LinkSpec, measured: Measured) -> list[Finding]:
        probes = measured.trains.get("rate")
        if probes is None or asked.rate_bps is None:
            return []
        estimate = _throughput(asked, asked.rate_bps, probes)
        if estimate is None:
            return [self.verdict("rate", asked.rate_bps, None)]
        passing = 1 - chain(asked).ratio
        if measured.send_bps * passing < asked.rate_bps * _SLOWEST:
            note = "this machine couldn't send faster: not judged"
            return [Finding(property="rate", asked=asked.rate_bps, estimate=estimate, note=note)]
        found = [self.verdict("rate", asked.rate_bps, estimate)]
        excess = records.excess_bytes(probes, asked.rate_bps, asked.overhead_bytes or 0)
        worst = Estimate(excess, excess, excess, estimate.n)
        note = f"at once beyond the rate, in bytes ({excess / (FULL_BYTES + 28):.1f} packets)"
        return [*found, Finding(property="burst", asked=None, estimate=worst, note=note)]

    def _mishaps(self, asked: LinkSpec, many: Probes, *, shaped: bool) -> list[Finding]:
        came = int(many.came.sum())
        counts = {
            "reorder": (asked.reorder_ratio, many.overtakers(), came),
            "duplicate": (asked.duplicate_ratio, many.duplicates, came),
            "corrupt": (asked.corrupt_ratio, many.damaged, came + many.unnamed),
        }
        found = []
        for name, (wanted, count, of) in counts.items():
            if wanted is None and not count:
                continue
            estimate = intervals.proportion(count, of)
            more, note = _header_damage(asked, many) if name == "corrupt" else (0.0, "")
            usual = wanted or (0.0 if shaped else None)
            found.append(self.verdict(name, usual, estimate, note, more))
        return found


def _throughput(asked: LinkSpec, rate_bps: float, probes: Probes) -> Estimate | None:
    """Bit/s at which a train passed, while it waited."""
    overhead = asked.overhead_bytes or 0
    margin = FULL_BYTES * 8 / rate_bps + 3 * (asked.jitter_s or 0.0) + _UNSTEADY_S
    bits, took = records.drained(probes, overhead, margin)
    if len(bits) < max(2 * BATCHES, _WAITED * probes.count):  # nothing waited: it is no slower
        bits, took = records.drained(probes, overhead)
    if len(bits) < BATCHES or not took.sum():
        return None
    parts = zip(np.array_split(bits, BATCHES), np.array_split(took, BATCHES), strict=True)
    rates = np.array([a.sum() / max(b.sum(), 1e-9) for a, b in parts])
    spread = intervals.mean(rates)
    assert spread is not None
    value, half = float(bits.sum() / took.sum()), (spread.high - spread.low) / 2
    return Estimate(value, value - half, value + half, len(bits))


def _header_damage(asked: LinkSpec, many: Probes) -> tuple[float, str]:
    """Share of packets that may be damaged in their headers, so that the kernel drops them."""
    if not asked.corrupt_ratio or not many.count:
        return 0.0, ""
    share = asked.corrupt_ratio * _HEADERS_BYTES / (int(many.sizes[0]) + _ETHERNET_BYTES)
    return share, "what is damaged in its headers is lost"


def worth_repeating(findings: list[Finding]) -> bool:
    """Whether a direction has to be measured again before it is told to be wrong."""
    return not all(finding.ok for finding in findings)


def confirmed(first: list[Finding], again: list[Finding]) -> list[Finding]:
    """What two measurements say: out of tolerance is what was so both times.

    One property in a hundred of right links is out once; in ten thousand, twice.
    """
    before = {finding.property: finding for finding in first}
    return [_of_two(before.get(finding.property), finding) for finding in again]


def _of_two(first: Finding | None, again: Finding) -> Finding:
    if first is None or again.ok:
        return again
    if first.ok:
        return first
    return replace(again, note="; ".join(filter(None, (again.note, "measured twice"))))


def send_rate(probes: Probes) -> float:
    """Bit/s at which a train was sent, by its times."""
    took = float(probes.sent_s[-1] - probes.sent_s[0]) if probes.count > 1 else 0.0
    return float(probes.sizes[1:].sum() * 8.0 / took) if took > 0 else math.inf
