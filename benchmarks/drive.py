"""How old pictures are that a car sends over LTE, beside what the trace has the link: a picture.

    python -m benchmarks.drive [--write DIR]

Runs `topologies/lte-drive.toml` for its two minutes, as processes. Expected is the trace's
delay and what a picture takes at its rate; what comes after a time without a link has waited for
it. Prints what it draws as JSON. Drawing needs the extra [bench].
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from bisect import bisect_right
from collections.abc import Sequence
from csv import DictReader
from pathlib import Path

from benchmarks.mesh import agent, run
from benchmarks.plots import Line, Panel, svg

SECONDS = 120.0
PICTURE_BYTES = 12_000
_TOPOLOGIES = Path(__file__).parents[1] / "topologies"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and draw."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drive")
    parser.add_argument("--write", type=Path, metavar="DIR", help="folder for lte-drive-delay.svg")
    args = parser.parse_args(argv)
    if os.geteuid() != 0:
        print("drive: links need root", file=sys.stderr)
        return 1
    panel = drawn(expected(), measured(SECONDS))
    print(json.dumps(panel.data()))
    if args.write:
        (args.write / "lte-drive-delay.svg").write_text(svg([panel], columns=1))
    return 0


def measured(seconds: float) -> list[tuple[float, float]]:
    """(s since the first picture, its age in ms)."""
    with agent() as (otterctl, _):
        file = str(_TOPOLOGIES / "lte-drive.toml")
        run(otterctl, "apply", file, "--set", "defaults.module.runtime=process")
        time.sleep(seconds)
        command = [*otterctl, "exec", "meter", "--", "cat", "outputs/delay.csv"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [(float(row["time_s"]), float(row["delay_ms"])) for row in DictReader(said.splitlines())]


def expected() -> list[tuple[float, float | None]]:
    """(s, ms) as the trace goes on; None: the link is down."""
    with (_TOPOLOGIES / "traces" / "lte-drive.csv").open() as file:
        rows = DictReader(line for line in file if not line.startswith("#"))
        return [(float(row["time"]), _age_ms(row)) for row in rows]


def _age_ms(row: dict[str, str]) -> float | None:
    if row["up"] == "0":
        return None
    return float(row["delay_ms"]) + PICTURE_BYTES * 8 / (float(row["rate_mbit"]) * 1e3)


def drawn(
    asked: Sequence[tuple[float, float | None]], found: Sequence[tuple[float, float]]
) -> Panel:
    """Both over time; each picture beside what held when it was sent."""
    times = [at for at, _ in asked]
    moments = [tenth / 10 for tenth in range(int(SECONDS * 10))]
    ages = [asked[max(0, bisect_right(times, at) - 1)][1] for at in moments]
    sent = sorted((received - age / 1e3, age) for received, age in found)
    return Panel(
        "lte-drive: the age of pictures as they arrive, and the trace",
        "s",
        "ms",
        [
            Line("measured", "ours", [at for at, _ in sent], [age for _, age in sent]),
            Line(
                "the trace: delay and 12 kB at its rate",
                "asked",
                moments,
                [math.nan if age is None else age for age in ages],
            ),
        ],
        log="y",
    )


if __name__ == "__main__":
    sys.exit(main())
