"""When an experiment is over. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection

from otter_agent import api

ENDED_WELL = frozenset({"done", "stopped"})
"""States that a module comes to by itself, or by the timeline, and which are no failure."""


def acts_until_s(timeline: api.TimelineSpec, modules: Collection[str]) -> float:
    """The time since the epoch from which on a timeline starts, stops or restarts none of these.

    Infinite: it goes on. What waits for a condition may never come, and isn't waited for.
    """
    latest = 0.0
    for event in timeline.events:
        acts = event.action or "run" in event.change
        if not acts or event.when is not None or not set(modules).intersection(event.modules):
            continue
        if event.every_s is not None:
            return math.inf
        latest = max(latest, event.at_s + (event.for_s or 0.0))
    return latest
