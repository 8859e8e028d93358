"""Where the time of a query went: models, links as asked for, and all else, part by part. Pure.

    recording written ─► heard ─► message made … received, taken ─► answered ─► made … taken ─► said
    └── noticed, read ──┘        └── sending, link, queue ──────┘              └── … ──────────┘

Computing is what modules say of their models, in their logs; all other times are of the messages'
records. What is neither computing nor the delay that a link was asked for is called OTTER's own,
also where it is a module's reading and writing of files.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from examples.timeline import Query

SMALLEST_GOAL_S = 0.02
GOAL_RATIO = 0.02
"""Of the whole query; OTTER's own share may be that, or SMALLEST_GOAL_S if that is more."""


@dataclass(frozen=True, slots=True)
class Account:
    """Of one query; all in seconds.

    Attributes:
        total_s: From the recording being there to the answer being said.
        computing_s: Of models.
        asked_s: Delay that its links were asked for.
        parts: Part -> what is left.
    """

    total_s: float
    computing_s: float
    asked_s: float
    parts: dict[str, float]

    @property
    def own_s(self) -> float:
        """OTTER's."""
        return sum(self.parts.values())


def account(query: Query, there_s: float, asked: Mapping[str, float]) -> Account:
    """The account of a query whose messages make a chain.

    Args:
        query: Its logs and records.
        there_s: When the recording was there, seconds since 1970.
        asked: Link delay that was asked for, by the module that sends over it.
    """
    hops = sorted(query.hops, key=lambda hop: float(hop["made"]))
    first, last = hops[0], hops[-1]
    asked_s = sum(asked.get(hop["from"], 0.0) for hop in hops)
    ends = [*(hop["made"] for hop in hops[1:]), last["done"]]
    parts = {
        "noticed and read": first["made"] - there_s - query.computing[first["from"]],
        "sending": _sum(hops, "output") + _sum(hops, "sending"),
        "links": _sum(hops, "link") - asked_s,
        "queues": _sum(hops, "queue"),
        **{
            f"in {hop['to']}": end - hop["taken"] - query.computing[hop["to"]]
            for hop, end in zip(hops, ends, strict=True)
        },
    }
    computing_s = sum(query.computing.values())
    return Account(last["done"] - there_s, computing_s, asked_s, parts)


def _sum(hops: Sequence[Mapping[str, Any]], part: str) -> float:
    return sum(float(hop["parts"].get(part, 0.0)) for hop in hops)


def goal_s(accounts: Sequence[Account]) -> float:
    """What OTTER's own share may be."""
    total_s = statistics.median(one.total_s for one in accounts)
    return max(GOAL_RATIO * total_s, SMALLEST_GOAL_S)


def told(accounts: Sequence[Account]) -> str:
    """The medians of all parts, in words."""
    names = accounts[0].parts
    parts = {name: statistics.median(one.parts[name] for one in accounts) for name in names}
    computing_s = statistics.median(one.computing_s for one in accounts)
    total_s = statistics.median(one.total_s for one in accounts)
    each = ", ".join(f"{name} {1000 * value:.1f}" for name, value in parts.items())
    return f"of {total_s:.3f} s, {computing_s:.3f} s of them models; ms: {each}"
