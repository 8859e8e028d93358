"""What changes over time: a trace's rate against what is delivered, a thousand changes a second."""

from __future__ import annotations

from benchmarks import shape, timeline, traces
from benchmarks.fidelity.case import Result, row
from benchmarks.mesh import agent
from benchmarks.plots import Line, Panel, cumulative
from net.links.traces.trace import Trace
from tests.helpers.link_bench import Bench

_SHOWN_BIN_S = 0.1


def run(bench: Bench, quick: bool) -> Result:
    """Through the agent and its commands."""
    result = Result()
    for step_s in traces.STEPS_S[:1] if quick else traces.STEPS_S:
        trace = traces.walk(step_s)
        with agent() as (otterctl, folder):
            _, epoch, packets = traces.measure(otterctl, folder, trace)
        for bin_s in traces.BINS_S:
            area = traces.area(trace, epoch, packets, bin_s)
            name = f"rate trace, a step each {step_s:g} s: area in bins of {bin_s:g} s"
            result.rows.append(row(name, "1", area, traces.GOAL, 1))
        result.panels.append(_followed(trace, step_s, epoch, packets))
    if not quick:
        result.rows += traces.packet_rows()
    result.rows += shape.measured(5 if quick else shape.COUNT)
    seconds = 5.0 if quick else timeline.SECONDS
    found = timeline.measure(seconds)
    result.rows += timeline.told(found, seconds)
    result.panels.append(_late(found.late_s))
    return result


def _followed(trace: Trace, step_s: float, epoch: float, packets: list[tuple[float, int]]) -> Panel:
    asked, delivered = traces.binned(trace, epoch, packets, _SHOWN_BIN_S)
    at = [traces.EDGE_S + n * _SHOWN_BIN_S for n in range(len(asked))]
    lines = [
        Line("delivered", "ours", at, [bits / _SHOWN_BIN_S / 1e6 for bits in delivered]),
        Line("asked", "asked", at, [bits / _SHOWN_BIN_S / 1e6 for bits in asked]),
    ]
    return Panel(f"A rate trace, a step each {step_s:g} s", "s", "Mbit/s", lines)


def _late(late_s: list[float]) -> Panel:
    xs, ys = cumulative([one * 1e3 for one in late_s])
    least = 0.5 / len(late_s)
    above = [max(1.0 - y, least) for y in ys]
    lines = [
        Line("", "ours", xs, above),
        Line("5 ms", "bound", [5.0, 5.0], [1.0, least]),
    ]
    title = f"{timeline.CHANGES_PER_S} changes a second: later than asked"
    return Panel(title, "ms", "share of changes above", lines, "y")
