"""Runs a benchmark in the guest kernel of tests/kernel, where this machine's kernel lacks netem."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable

from benchmarks.row import NotHere, Row
from otter_agent.links.netem import NetemDriver


def with_netem(name: str, here: Callable[[], list[Row]], limit_s: int = 1200) -> list[Row]:
    """Rows of the benchmark `name`: by `here` where netem works, else of the same in the guest."""
    if os.geteuid() != 0:
        raise NotHere("links need root")
    if NetemDriver().probe().usable:
        return here()
    guest = ["tests.kernel.guest", "--limit", str(limit_s), "--", sys.executable, "-m"]
    command = [sys.executable, "-m", *guest, "benchmarks", name, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        raise NotHere("no sch_netem here, and no guest kernel that has it")
    found: list[Row] = json.loads(done.stdout)["rows"]
    return found
