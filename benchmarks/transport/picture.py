"""The results as an SVG: a row of panels per case, one panel per placement, a bar per contender."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from benchmarks.transport.cases import CASES, Case
from benchmarks.transport.contenders import OURS
from benchmarks.transport.figures import Results

OURS_COLOUR, PEERS_COLOUR, LIMIT_COLOUR = "#2f6fb3", "#b9bec5", "#6b7280"
SETTINGS = {
    "svg.fonttype": "none",  # texts stay texts
    "svg.hashsalt": "otter",  # the same figures give the same file
    "font.family": "sans-serif",
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def svg(taken: Mapping[str, Results]) -> str:
    """The picture."""
    columns = max(len(results.placements) for results in taken.values())
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(4.6 * columns, 2.6 * len(taken)), layout="constrained")
        panels = figure.subplots(len(taken), columns, squeeze=False)
        for row, (name, results) in zip(panels, taken.items(), strict=True):
            for panel in row[len(results.placements) :]:
                panel.set_axis_off()
            for panel, placement in zip(row, results.placements, strict=False):
                _draw(panel, CASES[name], results, placement)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    return "".join(line.rstrip() + "\n" for line in out.getvalue().splitlines())


def _draw(panel: Any, case: Case, results: Results, placement: str) -> None:
    """Bars up to the median, a thin line on to the p99 where there is one; both as figures."""
    found = results.of(placement, case.contenders)
    for position, (name, figures) in enumerate(found.items()):
        middle, worst = case.shown(figures)
        panel.barh(position, middle, color=_colour(case, name), height=0.7)
        if worst is not None:
            panel.plot([middle, worst], [position, position], color="#374151", linewidth=0.8)
        end = middle if worst is None else worst
        label = f" {middle:.3g}" if worst is None else f" {middle:.3g} / {worst:.3g}"
        panel.annotate(label, (end, position), va="center", fontsize=7)
    panel.set_yticks(range(len(found)), list(found))
    panel.invert_yaxis()
    panel.set_title(f"{case.title}, {placement}", loc="left", fontsize=9)
    panel.set_xlabel(case.axis)
    if case.pattern == "echo":
        panel.set_xscale("log")
    panel.margins(x=0.15)


def _colour(case: Case, name: str) -> str:
    if name in OURS:
        return OURS_COLOUR
    return LIMIT_COLOUR if name in case.limit else PEERS_COLOUR
