"""Links whose packets come faster than their jitter lets go, and wait for each other. Pure.

A packet leaves no sooner than those before it: of packets that follow each other by g each is as
late as the latest of those before, the k-th of which has had k·g more time. So the median rises
and the deviation falls; `latency.py` has the formula, here for packets without end.
"""

from __future__ import annotations

from collections.abc import Iterator

from net.links.spec import LinkSpec
from net.units import format_duration, format_rate
from otter_ctl.planning.latency import PACKET_BYTES, held_s
from otter_ctl.topology.model import Topology

WITHIN = 4
"""Full packets in one jitter: with fewer the median rises by less than 0.8 of it."""
MOST = 8
"""Lines; then they are counted."""
_MANY_BYTES = 4096 * PACKET_BYTES
"""As good as no end: what has had that much more time isn't waited for."""


def added_s(spec: LinkSpec) -> float:
    """What jitter adds to the median delay of full packets at all of a direction's rate.

    0 where too few of them come within it to matter, and where that isn't known: without a rate,
    and where a delay follows the one before.
    """
    if not (spec.jitter_s and spec.rate_bps) or spec.jitter_correlation:
        return 0.0
    if spec.jitter_s <= WITHIN * gap_s(spec.rate_bps):
        return 0.0
    return held_s(spec, _MANY_BYTES, spec.rate_bps)


def gap_s(rate_bps: float) -> float:
    """Between full packets."""
    return 8 * PACKET_BYTES / rate_bps


def crowding_lines(topology: Topology) -> tuple[str, ...]:
    """`link radio: …`: a line a link where it matters; those that globs made once."""
    lines = list(dict.fromkeys(_lines(topology)))
    more = [f"and {len(lines) - MOST} more links likewise"] if len(lines) > MOST else []
    return (*lines[:MOST], *more)


def _lines(topology: Topology) -> Iterator[str]:
    for link in topology.links:
        for spec in (link.forward, link.reverse):
            if spec is None or spec.rate_bps is None or not (more_s := added_s(spec)):
                continue
            median_s = (spec.delay_s or 0.0) + more_s
            yield (
                f"link {link.made_from or link.name}: full packets at {format_rate(spec.rate_bps)} "
                f"come {gap_s(spec.rate_bps) * 1000:.2g} ms apart and keep their order: jitter "
                f"{format_duration(spec.jitter_s or 0.0)} makes the median delay "
                f"{median_s * 1000:.3g} ms (docs/links.md)"
            )
