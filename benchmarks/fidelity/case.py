"""What a case gives: rows for the table, panels for its picture. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from benchmarks.plots import Panel
from benchmarks.row import Row


@dataclass(slots=True)
class Result:
    """Of one case."""

    rows: list[Row] = field(default_factory=list)
    panels: list[Panel] = field(default_factory=list)


def row(
    name: str,
    unit: str,
    ours: float,
    goal: float | None,
    n: int,
    *,
    peers: dict[str, float] | None = None,
    limit: float | None = None,
    better: Literal["lower", "higher"] = "lower",
    note: str = "",
) -> Row:
    """A row of the table."""
    made: Row = {
        "name": name, "unit": unit, "better": better, "ours": ours, "peers": peers or {},
        "limit": limit, "goal": goal, "n": n,
    }  # fmt: skip
    if note:
        made["note"] = note
    return made


def quantile(values: Sequence[float], share: float) -> float:
    """Of sorted values."""
    return values[min(len(values) - 1, int(len(values) * share))]
