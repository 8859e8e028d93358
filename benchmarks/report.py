"""Rows as a table for people. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.machine import Description
from benchmarks.row import Row, meets_goal

HEADINGS = ("figure", "ours", "limit", "goal", "", "peers")
VERDICTS = {True: "met", False: "MISSED", None: ""}


def table(machine: Description, rows: Sequence[Row], skipped: Mapping[str, str]) -> str:
    """The whole report: the machine in a line, a row per figure, what did not run and why."""
    cells = [HEADINGS, *map(_cells, rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(HEADINGS))]
    lines = [_machine(machine), ""]
    lines += [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]
    lines += [f"{name}: no figures: {why}" for name, why in skipped.items()]
    return "\n".join(lines)


def quantity(value: float | None, unit: str) -> str:
    """A number of three digits with its unit, small seconds and large bytes scaled."""
    if value is None:
        return "-"
    if unit == "s" and value < 1:
        return f"{value * 1e3:.3g} ms"
    if unit == "B":
        return f"{value / 2**20:.3g} MiB"
    return f"{value:.3g} {unit}".removesuffix(" 1")


def _cells(row: Row) -> tuple[str, ...]:
    unit = row["unit"]
    sign = "<" if row["better"] == "lower" else ">"
    goal = row["goal"]
    return (
        f"{row['name']} (n={row['n']})",
        quantity(row["ours"], unit),
        quantity(row["limit"], unit),
        "-" if goal is None else f"{sign} {quantity(goal, unit)}",
        VERDICTS[meets_goal(row)],
        ", ".join(f"{name} {quantity(value, unit)}" for name, value in row["peers"].items()),
    )


def _machine(machine: Description) -> str:
    memory = machine["memory_bytes"] / 2**30
    load = " ".join(f"{value:g}" for value in machine["load"])
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {memory:.0f} GiB; Linux {machine['kernel']}, "
        f"{machine['os']}; Python {machine['python']}; load before {load}"
    )
