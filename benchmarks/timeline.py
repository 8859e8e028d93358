"""A thousand link changes a second: what they cost the agent, and how late they are.

50 links play traces both ways, 10 values a second each, each direction at times of its own, so that
there is a change each ms. The agent's share of a core is utime + stime of its process; the links'
helper (user space) or the kernel (netem) comes on top. Lateness is until the driver has confirmed
a change, over all changes.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from typing import Any

from benchmarks.mesh import agent, cpu_s, run
from benchmarks.row import NotHere, Row

LINKS = 50
PER_SECOND = 10
CHANGES_PER_S = LINKS * 2 * PER_SECOND
SECONDS = 60.0
CPU_GOAL = 0.2
LATE_GOAL_S = 0.005


def rows() -> list[Row]:
    """Share of a core, and lateness, with a thousand changes a second for a minute."""
    if os.geteuid() != 0:
        raise NotHere("needs root")
    with agent() as (otterctl, folder):
        (folder / "fast.csv").write_text(trace())
        file = folder / "many.toml"
        file.write_text(topology())
        run(otterctl, "apply", str(file))
        pid = int((folder / "a" / "run" / "agent.pid").read_text())
        before, start = shown(otterctl), time.monotonic()
        cpu = cpu_s(pid)
        time.sleep(SECONDS)
        share = (cpu_s(pid) - cpu) / (time.monotonic() - start)
        after = shown(otterctl)
    late = after["lateness"]
    rate = (late["changes"] - before["lateness"]["changes"]) / (
        after["position_s"] - before["position_s"]
    )
    note = f"{rate:.0f} changes/s; {late['passed']} passed over, {late['failed']} failed"
    what = f"{CHANGES_PER_S} link changes/s for {SECONDS:g} s"
    return [
        Row(
            name=f"{what}: cores of the agent", unit="1", better="lower", ours=share, peers={},
            limit=None, goal=CPU_GOAL, n=1, note=note,
        ),
        Row(
            name=f"{what}: late, mean", unit="s", better="lower", ours=late["mean_s"], peers={},
            limit=None, goal=None, n=int(late["changes"]),
        ),
        Row(
            name=f"{what}: late, 99th percentile", unit="s", better="lower", ours=late["p99_s"],
            peers={}, limit=None, goal=LATE_GOAL_S, n=int(late["changes"]),
            note=f"at most {late['max_s'] * 1000:.1f} ms",
        ),
    ]  # fmt: skip


def trace() -> str:
    """10 s, looped; each value is another than the one before."""
    lines = ["time,delay_ms,rate_mbit"]
    lines += [f"{n / PER_SECOND},{10 + n % 50},{10 + n}" for n in range(10 * PER_SECOND)]
    return "\n".join(lines) + "\n"


def topology() -> str:
    """A star; each link begins elsewhere in the trace."""
    text = 'name = "many"\n[hosts.hub]\n[hosts.leaf]\n'
    text += f'count = {LINKS}\n[modules.m]\nhost = "hub"\nruntime = "process"\n'
    text += 'command = ["sleep", "1000000"]\n'
    for number in range(1, LINKS + 1):
        forth, back = (number * 2 / CHANGES_PER_S, (number * 2 + 1) / CHANGES_PER_S)
        text += f'[[links]]\nbetween = ["leaf-{number}", "hub"]\n'
        text += f'trace = {{ file = "fast.csv", offset = "{forth}s" }}\n'
        text += f'reverse = {{ trace = {{ file = "fast.csv", offset = "{back}s" }} }}\n'
    return text


def shown(otterctl: list[str]) -> dict[str, Any]:
    """Where the timeline stands."""
    command = [*otterctl, "timeline", "show", "--json", "--last", "0", "--next", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))
