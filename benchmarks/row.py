"""What a benchmark hands over: one row per figure, medians in SI units."""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict


class Row(TypedDict):
    """One figure, ours and others'.

    Attributes:
        name: What is measured, in words.
        unit: Of all numbers in the row: `s`, `B`, `1` (a ratio), …
        better: Which direction is better.
        ours: Median of our runs.
        peers: Median of each peer, measured in the same run.
        limit: The best that this machine could do, where there is such a thing.
        goal: What `ours` should stay below (or above, where higher is better).
        n: How many runs the medians are of.
        note: Placement or load, where they matter to the figure.
    """

    name: str
    unit: str
    better: Literal["lower", "higher"]
    ours: float
    peers: dict[str, float]
    limit: float | None
    goal: float | None
    n: int
    note: NotRequired[str]


class NotHere(Exception):  # noqa: N818 - it says that a benchmark doesn't apply, not that it failed
    """This machine lacks what the benchmark needs; the message says what."""


def meets_goal(row: Row) -> bool | None:
    """Whether the goal is met; None without one."""
    goal = row["goal"]
    if goal is None:
        return None
    return row["ours"] <= goal if row["better"] == "lower" else row["ours"] >= goal
