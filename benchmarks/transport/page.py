"""What `make bench-transport` writes: a page of tables and a picture, from one run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks import report
from benchmarks.machine import Description, is_busy
from benchmarks.row import Row, meets_goal
from benchmarks.transport import picture
from benchmarks.transport.cases import CASES, Case
from benchmarks.transport.figures import Figures, Results

PAGE, PICTURE = Path("reference/transport-speed.md"), Path("reference/transport-speed.svg")
_INTRODUCTION = """\
# How fast the transport is

Made by `make bench-transport` from one run; don't edit. Two processes on this machine,
over loopback; every contender has a turn in each round, the others being idle.

Measured on: {machine}

![Each case in each placement, ours, the peers and the limit](transport-speed.svg)
"""

_BUSY = """\
**The machine was busy with other work meanwhile: these figures compare nothing. Run it again.**
"""


def write(docs: Path, machine: Description, taken: Mapping[str, Results], rows: list[Row]) -> None:
    """Write the page and the picture below `docs`."""
    for path in (PAGE, PICTURE):
        (docs / path).parent.mkdir(parents=True, exist_ok=True)
    (docs / PAGE).write_text(text(machine, taken, rows), encoding="utf-8")
    (docs / PICTURE).write_text(picture.svg(taken), encoding="utf-8")


def text(machine: Description, taken: Mapping[str, Results], rows: Sequence[Row]) -> str:
    """The page."""
    parts = [_INTRODUCTION.format(machine=report.described(machine))]
    if is_busy(machine):
        parts.append(_BUSY)
    for name, results in taken.items():
        parts.append("\n".join(_case(CASES[name], results)))
    parts.append("\n".join(_goals(rows)))
    return "\n".join(parts)


def _case(case: Case, results: Results) -> Iterator[str]:
    heads = [h for p in results.placements for h in _heads(case, p)]
    yield f"## {case.title}\n"
    turns = f"{results.rounds} turns of {results.count} messages"
    yield f"{turns}, {case.warm} before each to warm up.\n"
    yield "| | " + " | ".join(heads) + " |"
    yield "|---|" + "--:|" * len(heads)
    for name in case.contenders:
        cells: list[str] = []
        for placement in results.placements:
            figures = results.taken.get((placement, name))
            cells += _cells(case, figures) if figures else ["-"] * len(_heads(case, placement))
        yield f"| {name}{' (limit)' * (name in case.limit)} | " + " | ".join(cells) + " |"
    yield ""
    yield from (f"Without {name}: {why}\n" for name, why in results.absent.items())


def _heads(case: Case, placement: str) -> list[str]:
    first = "median" if case.pattern == "echo" else "rate"
    return [f"{placement}: {first}", "p99" if case.pattern == "echo" else "gap p99"]


def _cells(case: Case, figures: Figures) -> list[str]:
    if case.pattern == "echo":
        first = report.quantity(figures.median_s, "s")
    elif case.size_bytes:
        first = report.quantity(figures.rate * case.size_bytes, "B/s")
    else:
        first = report.quantity(figures.rate, "1/s")
    return [first, report.quantity(figures.p99_s, "s")]


def _goals(rows: Sequence[Row]) -> Iterator[str]:
    yield "## Goals\n"
    yield "| figure | ours | goal | | because |"
    yield "|---|--:|--:|---|---|"
    for row in rows:
        if row["goal"] is None:
            continue
        ours, goal = (report.quantity(value, row["unit"]) for value in (row["ours"], row["goal"]))
        verdict = report.VERDICTS[meets_goal(row)]
        yield f"| {row['name']} | {ours} | {goal} | {verdict} | {row.get('note', '')} |"
    yield ""
