"""Asked against measured, as pictures: what a panel shows is data, matplotlib draws it as SVG.

A benchmark that takes figures makes `Panel`s of them; `svg` needs the extra [bench].
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Kind = Literal["asked", "ours", "peer", "limit", "bound"]
"""What a line is: dashed what was asked, or how far from it may be; the rest was measured."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a panel.

    Attributes:
        points: Whether the points are marked, as those of single measurements; else it is a curve.
    """

    label: str
    kind: Kind
    xs: Sequence[float]
    ys: Sequence[float]
    points: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """One diagram.

    Attributes:
        log: Which axes are logarithmic: "", "x", "y" or "xy".
    """

    title: str
    x: str
    y: str
    lines: Sequence[Line]
    log: str = ""

    def data(self) -> dict[str, Any]:
        """For a JSON document, from which it can be drawn again."""
        return asdict(self)


def cumulative(values: Sequence[float], most: int = 400) -> tuple[list[float], list[float]]:
    """Share of values up to each, thinned out in the middle: both ends stay."""
    ordered, count = sorted(values), len(values)
    step = max(1, count // most)
    tail = min(count, 20)
    chosen = sorted({*range(0, count, step), *range(tail), *range(count - tail, count)})
    return [ordered[n] for n in chosen], [(n + 1) / count for n in chosen]


SETTINGS = {
    "svg.fonttype": "none",  # texts stay texts
    "svg.hashsalt": "otter",  # the same figures give the same file
    "font.family": "sans-serif",
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_COLOURS = {
    "ours": ("#2f6fb3", "#c8553d", "#4f9d69", "#8a5fb0", "#d49a2a", "#3aa6a6"),
    "peer": ("#b9bec5", "#8d949e"),
    "limit": ("#6b7280",),
    "asked": ("#111827",),
    "bound": ("#d1d5db",),
}


def svg(panels: Sequence[Panel], columns: int = 2) -> str:
    """All panels in one picture."""
    import matplotlib
    from matplotlib.figure import Figure

    rows = -(-len(panels) // columns)
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(4.6 * columns, 3.0 * rows), layout="constrained")
        axes = [one for row in figure.subplots(rows, columns, squeeze=False) for one in row]
        for place, panel in zip(axes, panels, strict=False):
            _draw(place, panel)
        for place in axes[len(panels) :]:
            place.set_axis_off()
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    return "".join(line.rstrip() + "\n" for line in out.getvalue().splitlines())


def _draw(axes: Any, panel: Panel) -> None:
    used: dict[str, int] = {}
    for line in panel.lines:
        colours = _COLOURS[line.kind]
        colour = colours[used.get(line.kind, 0) % len(colours)]
        used[line.kind] = used.get(line.kind, 0) + 1
        dashed = line.kind in ("asked", "bound")
        axes.plot(
            line.xs, line.ys, color=colour, linewidth=0.9, label=line.label or None,
            linestyle="--" if dashed else "none" if line.points else "-",
            marker="o" if line.points else None, markersize=3,
        )  # fmt: skip
    if "x" in panel.log:
        axes.set_xscale("log")
    if "y" in panel.log:
        axes.set_yscale("log")
    axes.set_title(panel.title, loc="left", fontsize=9)
    axes.set_xlabel(panel.x)
    axes.set_ylabel(panel.y)
    if any(line.label for line in panel.lines):
        axes.legend(fontsize=7, frameon=False)
