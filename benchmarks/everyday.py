"""What a person waits for all day: `status` of a large mesh, and one module's variable changed.

Real processes, in a root of its own. The change is `apply --set modules.m7.env.TURN=…`, alone while
49 other modules run; what the module's own restart takes is read from its events and counts apart:
from the moment in which the agent lets go of the old life to the new one being ready.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.mesh import agent, run, star
from benchmarks.row import NotHere, Row
from benchmarks.timing import medians

STATUS_MODULES = 100
STATUS_RUNS = 11
STATUS_GOAL_S = 0.5
CHANGE_MODULES = 50
CHANGE_RUNS = 9
CHANGE_GOAL_S = 1.0
CHANGED = "m7"
BARE = "python -c pass"


def rows() -> list[Row]:
    """`status` of 100 modules; a re-apply that restarts one of 50, without that restart."""
    if os.geteuid() != 0:
        raise NotHere("needs root")
    with agent() as (otterctl, folder):
        status = _status(otterctl, folder)
    with agent() as (otterctl, folder):
        beyond, restart = _change(otterctl, folder)
    return [
        Row(
            name=f"status of {STATUS_MODULES} modules",
            unit="s",
            better="lower",
            ours=status["ours"],
            peers={},
            limit=status[BARE],
            goal=STATUS_GOAL_S,
            n=STATUS_RUNS,
        ),
        Row(
            name=f"apply --set env of one of {CHANGE_MODULES} modules, beyond its restart",
            unit="s",
            better="lower",
            ours=beyond,
            peers={},
            limit=status[BARE],
            goal=CHANGE_GOAL_S,
            n=CHANGE_RUNS,
            note=f"the restart itself: {restart:.3f} s",
        ),
    ]


def _status(otterctl: list[str], folder: Path) -> dict[str, float]:
    file = folder / "hundred.toml"
    file.write_text(star(STATUS_MODULES))
    run(otterctl, "apply", str(file))
    commands = {"ours": [*otterctl, "status"], BARE: [sys.executable, "-c", "pass"]}
    return medians(commands, STATUS_RUNS)


def _change(otterctl: list[str], folder: Path) -> tuple[float, float]:
    """Median seconds of the re-apply beyond the module's restart, and of that restart."""
    file = folder / "fifty.toml"
    file.write_text(star(CHANGE_MODULES))
    run(otterctl, "apply", str(file))
    beyond, restarts = [], []
    for turn in range(CHANGE_RUNS):
        began = time.time()
        took = run(otterctl, "apply", str(file), "--set", f"modules.{CHANGED}.env.TURN={turn}")
        restart = _restart_s(otterctl, began)
        restarts.append(restart)
        beyond.append(took - restart)
    return statistics.median(beyond), statistics.median(restarts)


def _restart_s(otterctl: list[str], since: float) -> float:
    """From the first to the last event of the changed module; no other may have one."""
    said = subprocess.run([*otterctl, "events", "--json"], capture_output=True, check=True)
    events = [event for event in map(json.loads, said.stdout.splitlines()) if event["time"] > since]
    times = [event["time"] for event in events if event["subject"] == CHANGED]
    others = {event["subject"] for event in events if event["kind"] == "module"} - {CHANGED}
    if others or len(times) < 2:
        raise RuntimeError(f"{sorted(others)} changed as well; {len(times)} events of {CHANGED}")
    return float(max(times) - min(times))
