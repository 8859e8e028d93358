"""What `make bench-links` writes: a page of tables, its rows as JSON, a picture per case."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks import report
from benchmarks.fidelity.case import Result
from benchmarks.machine import Description, is_busy
from benchmarks.plots import svg
from benchmarks.row import Row, meets_goal

_INTRODUCTION = """\
# Links asked and measured: driver `{driver}`

Made by `make bench-links` from one run; don't edit. What is measured how is in
`benchmarks/fidelity`; the rows are in [links-{driver}.json](links-{driver}.json), too.

Bare timers: what processes that only wait, before all others and on each processor, are late by in
the same seconds (for packets at once: how many come due in the longest of that). A driver's timers
are late likewise, in other moments; whose links don't make up for it lose what they were late by.

Measured on: {machine}
"""
_BUSY = """\
**The machine was busy with other work meanwhile: these figures say little. Run it again.**
"""


def write(docs: Path, driver: str, machine: Description, taken: Mapping[str, Result]) -> None:
    """Write all of it below `docs`."""
    reference = docs / "reference"
    reference.mkdir(parents=True, exist_ok=True)
    rows = [row for result in taken.values() for row in result.rows]
    document = {"driver": driver, "machine": machine, "rows": rows}
    (reference / f"links-{driver}.json").write_text(json.dumps(document, indent=1) + "\n")
    (reference / f"links-{driver}.md").write_text(text(driver, machine, taken), encoding="utf-8")
    for name, result in taken.items():
        if result.panels:
            (reference / f"links-{driver}-{name}.svg").write_text(svg(result.panels))


def text(driver: str, machine: Description, taken: Mapping[str, Result]) -> str:
    """The page."""
    parts = [_INTRODUCTION.format(driver=driver, machine=report.described(machine))]
    if is_busy(machine):
        parts.append(_BUSY)
    parts += ["\n".join(_case(driver, name, result)) for name, result in taken.items()]
    return "\n".join(parts)


def _case(driver: str, name: str, result: Result) -> Iterator[str]:
    yield f"## {name.capitalize()}\n"
    if result.panels:
        shown = "; ".join(panel.title for panel in result.panels)
        yield f"![{shown}](links-{driver}-{name}.svg)\n"
    yield "| figure | n | measured | goal | | bare timers | peers | |"
    yield "|---|--:|--:|--:|---|--:|---|---|"
    for row in result.rows:
        yield _line(row)
    yield ""


def _line(row: Row) -> str:
    unit, goal, limit = row["unit"], row["goal"], row["limit"]
    sign = "≤" if row["better"] == "lower" else "≥"
    peers = ", ".join(f"{name} {report.quantity(v, unit)}" for name, v in row["peers"].items())
    cells = (
        row["name"],
        str(row["n"]),
        report.quantity(row["ours"], unit),
        "" if goal is None else f"{sign} {report.quantity(goal, unit)}",
        report.VERDICTS[meets_goal(row)],
        "" if limit is None else report.quantity(limit, unit),
        peers,
        row.get("note", ""),
    )
    return f"| {' | '.join(cells)} |"
