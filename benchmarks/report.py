"""Rows as a table for people. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.machine import Description
from benchmarks.row import Row, meets_goal

HEADINGS = ("figure", "ours", "limit", "goal", "", "peers")
SCALES = {
    "s": ((1, 1, "s"), (1e-3, 1e3, "ms"), (0, 1e6, "µs")),
    "B/s": ((1e9, 1e-9, "GB/s"), (1e6, 1e-6, "MB/s")),
    "1/s": ((1e6, 1e-6, "M/s"), (1e3, 1e-3, "k/s")),
}
"""Unit -> from which value on, the factor, and the unit that is shown."""
VERDICTS = {True: "met", False: "MISSED", None: ""}


def table(machine: Description, rows: Sequence[Row], skipped: Mapping[str, str]) -> str:
    """The whole report: the machine in a line, rows, notes, what did not run and why."""
    cells = [HEADINGS, *map(_cells, rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(HEADINGS))]
    lines = [described(machine), ""]
    lines += [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]
    lines += _notes(rows)
    lines += [f"{name}: no figures: {why}" for name, why in skipped.items()]
    return "\n".join(lines)


def quantity(value: float | None, unit: str) -> str:
    """A number of three digits with its unit, small seconds and large bytes scaled."""
    if value is None:
        return "-"
    if unit == "B":
        return f"{value / 2**20:.3g} MiB"
    for smallest, factor, scaled in SCALES.get(unit, ()):
        if abs(value) >= smallest:
            return f"{value * factor:.3g} {scaled}"
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


def _notes(rows: Sequence[Row]) -> list[str]:
    """Each note once, with the figures that it is for."""
    names: dict[str, list[str]] = {}
    for row in rows:
        if note := row.get("note"):
            names.setdefault(note, []).append(row["name"])
    return [f"{'; '.join(of)}: {note}" for note, of in names.items()]


def described(machine: Description) -> str:
    """The machine in a line."""
    memory = machine["memory_bytes"] / 2**30
    load = " ".join(f"{value:g}" for value in machine["load"])
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {memory:.0f} GiB; Linux {machine['kernel']}, "
        f"{machine['os']}; Python {machine['python']}; load before {load}, "
        f"{machine['used']:g} cores used by others; a byte to another process and back "
        f"{machine['exchange_s'] * 1e6:.0f} us, a process forked {machine['fork_s'] * 1e3:.1f} ms"
    )
