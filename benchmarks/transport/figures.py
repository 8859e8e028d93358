"""What a case's turns gave, and rows made of it. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from benchmarks.row import Row

ONE_CPU, TWO_CPUS = "one CPU", "two CPUs"


@dataclass(slots=True)
class Figures:
    """One contender in one placement.

    Attributes:
        samples_s: Seconds of each round trip; one way: between two arrivals.
        rates: One way: messages per second, one figure per turn.
    """

    samples_s: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)

    @property
    def median_s(self) -> float:
        """Of all samples of all turns."""
        return statistics.median(self.samples_s)

    @property
    def p99_s(self) -> float:
        """99 of 100 samples took at most this."""
        ordered = sorted(self.samples_s)
        return ordered[math.ceil(0.99 * len(ordered)) - 1]

    @property
    def rate(self) -> float:
        """Messages per second: the median of the turns."""
        return statistics.median(self.rates)


@dataclass(slots=True)
class Results:
    """All turns of one case.

    Attributes:
        taken: By placement and contender.
        absent: Contender -> why there are no figures of it.
        rounds: Turns that each had.
        count: Messages of each turn.
    """

    rounds: int
    count: int
    taken: dict[tuple[str, str], Figures] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)

    @property
    def placements(self) -> list[str]:
        """Those that this machine allowed."""
        return list(dict.fromkeys(placement for placement, _ in self.taken))

    def of(self, placement: str, names: Iterable[str]) -> dict[str, Figures]:
        """Those of `names` that have figures."""
        return {n: self.taken[placement, n] for n in names if (placement, n) in self.taken}


@dataclass(frozen=True, slots=True)
class Comparison:
    """One of ours beside others, in one placement.

    Attributes:
        title: The case's.
        placement: Which.
        ours: The contender that the row is about.
        limit: The best that there can be.
        peers: Those to show beside it.
        goals: In words -> a contender, and the factor of its figure that ours must reach; the
            strictest counts.
    """

    title: str
    placement: str
    ours: str
    limit: str
    peers: tuple[str, ...]
    goals: Mapping[str, tuple[str, float]]


def latency_rows(results: Results, asked: Comparison) -> list[Row]:
    """Median and p99 of round trips; the goal is the median's."""
    found = results.of(asked.placement, (asked.ours, asked.limit, *asked.peers))
    if asked.ours not in found:
        return []
    bounds = [f * found[name].median_s for name, f in asked.goals.values() if name in found]
    values = {name: figures.median_s for name, figures in found.items()}
    worst = {name: figures.p99_s for name, figures in found.items()}
    n = len(found[asked.ours].samples_s)
    median = _row(asked, "median", "s", values, min(bounds, default=None), n)
    median["note"] = _note(asked.goals, results)
    return [median, _row(asked, "p99", "s", worst, None, n)]


def rate_rows(results: Results, asked: Comparison, size_bytes: int | None = None) -> list[Row]:
    """Messages per second, or bytes where a size is given; the row, if there are figures."""
    found = results.of(asked.placement, (asked.ours, asked.limit, *asked.peers))
    if asked.ours not in found:
        return []
    values = {name: figures.rate * (size_bytes or 1) for name, figures in found.items()}
    bounds = [f * values[name] for name, f in asked.goals.values() if name in found]
    unit = "B/s" if size_bytes else "1/s"
    row = _row(asked, "", unit, values, max(bounds, default=None), results.rounds)
    row["note"] = _note(asked.goals, results)
    return [row]


def _row(
    asked: Comparison, what: str, unit: str, values: dict[str, float], goal: float | None, n: int
) -> Row:
    words = (asked.title, asked.ours, asked.placement, what)
    return Row(
        name=", ".join(filter(None, words)),
        unit=unit,
        better="lower" if unit == "s" else "higher",
        ours=values[asked.ours],
        peers={name: values[name] for name in asked.peers if name in values},
        limit=values.get(asked.limit),
        goal=goal,
        n=n,
    )


def _note(goals: Iterable[str], results: Results) -> str:
    """The goals in words, and who is absent."""
    parts = ["; ".join(goals)] if goals else []
    parts += [f"without {name}: {why}" for name, why in results.absent.items()]
    return "; ".join(parts)
