"""What a case says: what is exchanged, by whom, how often, and which rows come of it. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.row import Row
from benchmarks.transport.figures import Figures, Results
from benchmarks.transport.peer import Pattern


@dataclass(frozen=True, slots=True)
class Case:
    """One thing that is measured.

    Attributes:
        name: Key in CASES.
        title: For people.
        pattern: There and back, or one way.
        make: The value that is sent every time.
        contenders: Who takes part; see `contenders`.
        limit: The one that is the limit, or several.
        warm: Messages of each turn that don't count.
        count: Those that do.
        rounds: Turns that each has.
        rows: From the results to rows.
        axis: What the picture's axis shows, in words.
        size_bytes: Of one message, where its rate is shown in bytes.
        shown: Figures -> median and worst (or None), in the axis's unit.
    """

    name: str
    title: str
    pattern: Pattern
    make: Callable[[], Any]
    contenders: tuple[str, ...]
    limit: tuple[str, ...]
    warm: int
    count: int
    rounds: int
    rows: Callable[[Results], list[Row]]
    axis: str
    shown: Callable[[Figures], tuple[float, float | None]]
    size_bytes: int | None = None
