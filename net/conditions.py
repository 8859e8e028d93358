"""Conditions that events wait for instead of a time. Pure.

A condition looks at one module, stream, link or host, asks one thing of it, and holds once that
has been true for a time. Nothing is computed by a topology: there is no language to be escaped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Subject = Literal["module", "stream", "link", "host"]
Sense = Literal["state", "count", "above", "below"]
"""`state`: it is in that state; `count`: so many since the epoch, and with `again` so many more
each time; `above`, `below`: of a value that goes up and down."""

TESTS: Mapping[Subject, Mapping[str, Sense]] = MappingProxyType(
    {
        "module": {"state": "state", "restarts": "count"},
        "stream": {
            "messages": "count",
            "lost": "count",
            "waiting_above": "above",
            "rate_above": "above",
            "rate_below": "below",
        },
        "link": {
            "packets": "count",
            "bytes": "count",
            "dropped": "count",
            "queue_delay_above": "above",
            "use_above": "above",
            "use_below": "below",
        },
        "host": {"cpu_above": "above", "cpu_below": "below", "memory_above": "above"},
    }
)
"""Of which what can be asked."""
MODULE_STATES = (
    "pending",
    "starting",
    "running",
    "ready",
    "done",
    "restarting",
    "failed",
    "stopped",
)
MOST_CONDITIONS = 1000
"""Of one mesh: all are looked at ten times a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What has to be so.

    Attributes:
        name: Of the module, stream, link or host.
        direction: Of a link, `a>b`; "": any of its directions.
        bound: What the value is compared with: seconds, bytes, cores, shares from 0 to 1.
        state: For the test `state`.
        for_s: How long it has to be so without a break.
        again: Whether the event happens each time that it becomes so; else once.
        rearm: With `again`, and of `above` and `below`: to where the value has to come back before.
            None: to `bound`.
    """

    kind: Subject
    name: str
    test: str
    direction: str = ""
    bound: float = 0.0
    state: str = ""
    for_s: float = 0.0
    again: bool = False
    rearm: float | None = None
    text: str = ""

    @property
    def sense(self) -> Sense:
        """How the value is compared."""
        return TESTS[self.kind][self.test]

    def problem(self) -> str:
        """Why it makes no sense; "" if it does."""
        if self.test not in TESTS[self.kind]:
            return f"a {self.kind} has no {self.test[:40]!r}"
        sense = self.sense
        if sense != "state" and not (math.isfinite(self.bound) and 0 <= self.bound < 1e18):
            return "must be a number from 0 on"
        if sense == "count" and self.bound < 1:
            return "must be at least 1"
        if not 0 <= self.for_s < 1e9:
            return "must be held for a time from 0 on"
        if sense == "count" and self.for_s:
            return "a count only grows: it can't be held for a time"
        if self.rearm is None:
            return ""
        if not self.again or sense not in ("above", "below"):
            return "`rearm` goes with `again`, and with what goes up and down"
        back = self.rearm <= self.bound if sense == "above" else self.rearm >= self.bound
        side = "above" if sense == "above" else "below"
        return (
            "" if back else f"`rearm` must not be {side} the bound, or it would never happen again"
        )
