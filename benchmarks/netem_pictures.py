"""Links in the kernel, asked and measured, as pictures: `docs/reference/netem.svg`.

    python -m benchmarks.netem_pictures [--write DIR]

Measures in the guest kernel of tests/kernel where this machine's has no sch_netem; some minutes.
Prints what it draws as JSON. Drawing needs the extra [bench].
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import netem, netem_cells
from benchmarks.plots import Line, Panel, cumulative
from net.links import jitter
from net.links.spec import LinkSpec
from otter_agent.links.netem import NetemDriver

_LONG = re.compile(r"([0-9]+\.[0-9]{2})[0-9]+")
"""A number with more digits than a picture shows."""
Way = tuple[LinkSpec | None, str]
_DELAYS_S = (0.001, 0.02, 0.3)
_RATES_BPS = (1e5, 1e6, 1e7, 5e7, 1e8)
_LOSSES = (0.001, 0.01, 0.03, 0.1, 0.3)
_LOST_OF = 10_000


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, here or in the guest, and draw."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.netem_pictures")
    parser.add_argument("--write", type=Path, metavar="DIR", help="folder for netem.svg")
    args = parser.parse_args(argv)
    if os.geteuid() != 0:
        print("netem_pictures: links need root", file=sys.stderr)
        return 1
    if NetemDriver().probe().usable:
        document = json.dumps([panel.data() for panel in panels()])
    else:
        guest = ["tests.kernel.guest", "--limit", "1500", "--", sys.executable, "-m"]
        command = [sys.executable, "-m", *guest, "benchmarks.netem_pictures"]
        document = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    print(document)
    if args.write:
        from benchmarks import plots  # the pictures need a library of their own

        drawn = plots.svg([_panel(data) for data in json.loads(document)])
        (args.write / "netem.svg").write_text(_LONG.sub(r"\1", drawn))
    return 0


def panels() -> list[Panel]:
    """All that is measured."""
    found = []
    for load in ("idle", "a busy process beside"):
        with netem.beside(load):
            found.append(_delay(load))
    return [*found, _rate(), _ahead(), _loss(), _jitter(), _shares()]


def _delay(load: str) -> Panel:
    lines: list[Line] = []
    peers: list[Line] = []
    for delay_s in _DELAYS_S:
        errors = netem.delays((LinkSpec(delay_s=delay_s), ""), delay_s)
        lines.append(Line(f"{delay_s * 1000:g} ms", "ours", *_ms(errors)))
        errors = netem.delays((None, f"netem delay {delay_s * 1000}ms"), delay_s)
        peers.append(Line("" if peers else "tc netem", "peer", *_ms(errors)))
    lines += [*peers, Line("this machine's timers", "limit", *_ms(netem.timers_late(1000)))]
    return Panel(f"Delay, {load}", "error (ms)", "share of packets", lines)


def _ms(values: Sequence[float]) -> tuple[list[float], list[float]]:
    return cumulative([value * 1000 for value in values], most=30)


def _rate() -> Panel:
    measured: dict[str, list[float]] = {}
    for rate_bps in _RATES_BPS:
        for name, way in {**netem.shapers(rate_bps), "none": (None, "")}.items():
            measured.setdefault(name, []).append(_goodput(way, rate_bps) / 1e6)
    asked = [rate_bps / 1e6 for rate_bps in _RATES_BPS]
    return Panel(
        "Rate",
        "asked (Mbit/s)",
        "measured, of what was asked",
        [
            Line("asked", "asked", asked, [1.0] * len(asked)),
            *(_line(name, asked, [m / a for m, a in zip(values, asked, strict=True)])
              for name, values in measured.items()),
        ],
        log="x",
    )  # fmt: skip


def _goodput(way: Way, rate_bps: float) -> float:
    """Bit/s; with packets of which two tenths of a second have some."""
    size, lasting_s = (500, 10.0) if rate_bps <= 1e6 else (1500, 2.0)
    with netem.path(*way) as road:
        done = threading.Event()
        thread = threading.Thread(target=netem.flood, args=(road, rate_bps, size, done))
        thread.start()
        time.sleep(1.0)
        begun, _, before = road.arrived()
        time.sleep(lasting_s)
        ended, _, after = road.arrived()
        done.set()
        thread.join()
    return (after - before) * 8 / (ended - begun)


def _ahead() -> Panel:
    measured: dict[str, list[float]] = {}
    rates = [rate for rate in _RATES_BPS if rate >= 1e6]
    for rate_bps in rates:
        for name, way in netem.shapers(rate_bps).items():
            found = netem.drained(way, rate_bps, netem.backlog(rate_bps))
            measured.setdefault(name, []).append(found.together)
    xs = [rate / 1e6 for rate in rates]
    late_s = netem.timers_late(1000)[-10]
    limit = [1 + late_s * rate / 12_000 for rate in rates]
    lines = [_line(name, xs, values) for name, values in measured.items()]
    lines += [Line("goal", "bound", xs, [2.0] * len(xs))]
    lines += [Line("due while a timer is late (p99)", "limit", xs, limit)]
    return Panel("Burst", "rate (Mbit/s)", "packets beyond rate x time", lines, log="xy")


def _loss() -> Panel:
    measured: dict[str, list[float]] = {}
    for ratio in _LOSSES:
        ways: dict[str, Way] = {
            "ours": (LinkSpec(loss_ratio=ratio), ""),
            "tc netem": (None, f"netem loss {ratio * 100}% limit 100000"),
        }
        for name, way in ways.items():
            with netem.path(*way) as road:
                before = road.arrived()[1]
                road.send(_LOST_OF, 60, train=60)
                lost = _LOST_OF - (road.arrived()[1] - before)
            measured.setdefault(name, []).append(100 * lost / _LOST_OF)
    asked = [ratio * 100 for ratio in _LOSSES]
    lines = [Line("asked", "asked", asked, asked)]
    lines += [_line(name, asked, values) for name, values in measured.items()]
    return Panel("Loss", "asked (%)", f"measured (%) of {_LOST_OF}", lines, log="xy")


def _jitter() -> Panel:
    table = jitter.table("normal")
    xs, ys = cumulative([30 + 5 * entry for entry in table], most=40)
    lines = [Line("asked", "asked", xs, ys)]
    ways: dict[str, Way] = {
        "ours": (LinkSpec(delay_s=0.03, jitter_s=0.005), ""),
        "tc netem": (None, "netem delay 30ms 5ms distribution normal"),
    }
    for name, way in ways.items():
        with netem.path(*way) as road:
            road.send(300, gap_s=0.045)
            xs, ys = cumulative([1000 * (b - a) for _, a, b in road.arrivals(0.5)], most=40)
        lines.append(Line(name, "ours" if name == "ours" else "peer", xs, ys))
    return Panel("Jitter: normal, 5 ms", "delay (ms)", "share of packets", lines)


def _shares() -> Panel:
    """Of four members of a cell that all send."""
    lines = []
    for name, weights in {"weights 1 to 4": netem_cells.WEIGHTS, "alike": (1.0,) * 4}.items():
        got, total = netem_cells.shares(weights)
        asked = [100 * weight / sum(weights) for weight in weights]
        label = f"{name}; together {100 * total:.1f} %"
        lines.append(Line(label, "ours", asked, [100 * one for one in got], points=True))
    lines.append(Line("asked", "asked", [0, 40], [0, 40]))
    return Panel("A cell's members", "share asked (%)", "share got (%)", lines)


def _line(name: str, xs: Sequence[float], ys: Sequence[float]) -> Line:
    if name == "none":
        return Line("unshaped", "limit", xs, ys)
    return Line(name, "ours" if name == "ours" else "peer", xs, ys, points=True)


def _panel(data: dict[str, Any]) -> Panel:
    return Panel(**{**data, "lines": [Line(**line) for line in data["lines"]]})


if __name__ == "__main__":
    sys.exit(main())
