"""How long a person waits for `otterctl --help`: what starting costs before any work is done."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from benchmarks.row import NotHere, Row
from benchmarks.timing import medians

RUNS = 20
HELP_GOAL_S = 0.15
INTERPRETER = "python -c pass"
DOCKER = "docker --help"


def rows() -> list[Row]:
    """One row: `otterctl --help` beside the bare interpreter and Docker's command line."""
    otterctl = Path(sys.executable).with_name("otterctl")
    if not otterctl.exists():
        raise NotHere(f"no {otterctl}: make setup")
    commands = {"ours": [str(otterctl), "--help"], INTERPRETER: [sys.executable, "-c", "pass"]}
    if docker := shutil.which("docker"):
        commands[DOCKER] = [docker, "--help"]
    took = medians(commands, RUNS)
    return [
        {
            "name": "otterctl --help",
            "unit": "s",
            "better": "lower",
            "ours": took.pop("ours"),
            "limit": took[INTERPRETER],
            "peers": took,
            "goal": HELP_GOAL_S,
            "n": RUNS,
        }
    ]
