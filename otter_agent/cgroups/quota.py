"""CPU budgets as CFS quotas, and the order in which cgroup v1 takes them. Pure.

    cores ──Quota.of_cores──► (quota, period) ──plan──► ordered writes that v1 accepts

The kernel's default period of 100 ms hides scarcity from inference: at half a core, 40 ms of work
fit into one period's quota and still take 40 ms. With a period of 5 ms they take about 75 ms.
Must not know: files, which kernel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

PERIOD_US = 5_000
"""The period used wherever the quota in it is at least the kernel's minimum."""
MIN_QUOTA_US = 1_000
"""Source: `min_cfs_quota_period` (1 ms) in the kernel's kernel/sched/core.c; below it: EINVAL."""
MAX_PERIOD_US = 1_000_000
"""Source: `max_cfs_quota_period` (1 s), same file."""
_STEP_US = 1_000
_RATIO_BITS = 20
"""Source: BW_SHIFT in kernel/sched/sched.h: v1 compares `(quota << 20) / period` of the levels."""


@dataclass(frozen=True, slots=True)
class Quota:
    """So much CPU time in each period."""

    quota_us: int
    period_us: int

    @classmethod
    def of_cores(cls, cores: float) -> Quota:
        """The quota for a budget in cores.

        The period is the smallest whole number of milliseconds that is at least 5 ms and in which
        the quota is at least 1 ms: `max(5 ms, ceil(1 ms / cores))`. Whole milliseconds make any
        budget of up to three decimals exact. 0.2 cores and more get 5 ms, 0.1 gets 10 ms, 0.01
        gets 100 ms; the kernel's longest period, 1 s, bounds budgets at 0.001 cores.

        Raises:
            ValueError: `cores` isn't a number of at least 0.001.
        """
        if not (math.isfinite(cores) and cores >= MIN_QUOTA_US / MAX_PERIOD_US):
            raise ValueError(f"{cores:g} cores is below the kernel's minimum of 0.001")
        shortest = math.ceil(MIN_QUOTA_US / cores / _STEP_US - 1e-9) * _STEP_US
        period = min(max(PERIOD_US, shortest), MAX_PERIOD_US)
        return cls(max(MIN_QUOTA_US, round(cores * period)), period)

    @property
    def cores(self) -> float:
        """The budget that this is."""
        return self.quota_us / self.period_us

    @property
    def ratio(self) -> int:
        """What cgroup v1 compares between a group and its parent."""
        return (self.quota_us << _RATIO_BITS) // self.period_us


def lower(a: Quota | None, b: Quota | None) -> Quota | None:
    """The scarcer of two; None is unlimited."""
    if a is None or b is None:
        return a if b is None else b
    return a if a.ratio <= b.ratio else b


@dataclass(slots=True)
class Node:
    """A group and what is below it, for `plan`.

    Attributes:
        name: Handed back in the plan.
        want: What was asked of it, whatever its parents allow.
        current: What is in force.
    """

    name: str
    want: Quota | None
    current: Quota | None
    children: list[Node] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Write:
    """One step: give the group `name` the quota `target`."""

    name: str
    target: Quota | None
    want: Quota | None


def plan(top: Node, limit: Quota | None) -> list[Write]:
    """Writes that take a tree from what is in force to what is wanted, in an order v1 accepts.

    cgroup v1 refuses a group's quota above its parent's and below a child's, so what shrinks goes
    first, leaves before parents, then what grows, parents before leaves. A group that asked for
    more than its parent has gets the parent's (the same in effect), and more when that grows.

    Args:
        top: The group to change.
        limit: The quota in force above it.
    """
    nodes = list(_targets(top, limit))
    shrink = [w for node, w in reversed(nodes) if _ratio(w.target) < _ratio(node.current)]
    done = {w.name for w in shrink}
    grow = [w for node, w in nodes if w.name not in done and w.target != node.current]
    return shrink + grow


def _targets(node: Node, limit: Quota | None) -> Iterator[tuple[Node, Write]]:
    target = lower(node.want, limit)
    yield node, Write(node.name, target, node.want)
    for child in node.children:
        yield from _targets(child, target if target is not None else limit)


def _ratio(quota: Quota | None) -> float:
    return math.inf if quota is None else quota.ratio
