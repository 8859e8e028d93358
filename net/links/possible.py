"""Which values no link can have, whatever else is asked of it. Pure.

A change may name a part only of what goes together: a jitter without its delay is right where the
link has one. So each value is looked at beside others with which it would make sense.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from net.links.spec import LinkSpec

_BESIDE: Mapping[str, LinkSpec] = {
    "jitter_s": LinkSpec(delay_s=3600.0),
    "jitter_distribution": LinkSpec(delay_s=1.0, jitter_s=1.0),
    "jitter_table": LinkSpec(delay_s=1.0, jitter_s=1.0, jitter_distribution="table"),
    "jitter_correlation": LinkSpec(delay_s=1.0, jitter_s=1.0),
    "loss_correlation": LinkSpec(loss_ratio=0.5),
    "ecn": LinkSpec(queue_discipline="codel"),
    "reorder_ratio": LinkSpec(delay_s=1.0),
    "reorder_correlation": LinkSpec(delay_s=1.0, reorder_ratio=0.5),
    "slot_bytes": LinkSpec(slot_s=(1.0, 1.0)),
    "medium": LinkSpec(rate_bps=1e6),
    "medium_weight": LinkSpec(rate_bps=1e6, medium="any"),
}
_TABLE = LinkSpec(delay_s=1.0, jitter_s=1.0, jitter_table=(0.0, 1.0))


def impossible(values: Mapping[str, Any]) -> dict[str, str]:
    """Field of `LinkSpec` -> why its value makes no sense; None is always possible."""
    wrong = {}
    for name, value in values.items():
        if value is None:
            continue
        beside = _BESIDE.get(name, LinkSpec())
        if (name, value) == ("jitter_distribution", "table"):
            beside = _TABLE
        why = replace(beside, **{name: value}).problems().get(name)
        if why is not None:
            wrong[name] = why
    return wrong
