"""A mesh whose links and computing are measured from both sides: not too little, not too much.

Bounds are wide, for machines on which timers are late, yet no driver that has half of a rate, twice
a loss or ten milliseconds too many keeps them. The best of three measurements counts: what is wrong
is wrong each time. Of computing, a machine on which others compute may take that much longer.
"""

from __future__ import annotations

import time
from typing import Any

from helpers.otter import Otter

MESH = """
otter = 1
name = "asked"
[defaults.module]
runtime = "process"
[hosts.a]
cpu = 0.5
[hosts.b]
[[links]]
name = "far"
between = ["a", "b"]
delay = "20ms"
[[links]]
name = "slow"
between = ["a", "b"]
rate = "5mbit"
[[links]]
name = "lossy"
between = ["a", "b"]
loss = "10%"
[modules.near]
host = "a"
command = ["sleep", "1000"]
"""
WITHIN = {"delay": 0.005, "rate": 0.2 * 5e6, "loss": 0.04, "cpu": 0.3}
"""By how much each may be off; of computing, 0.2 s of work that shall take 0.4 s."""
ASKED = {("far", "delay"): 0.02, ("slow", "rate"): 5e6, ("lossy", "loss"): 0.1}
TRIES = 3


def check(otter: Otter, driver: str, *, computing: bool) -> None:
    """Apply it, measure it, and be satisfied with the best of three."""
    words = ["verify", "--quick"] if computing else ["verify", "--quick", "--no-cpu"]
    otter("apply", otter.topology(MESH))
    assert {link["driver"] for link in otter.json("status")["links"]} == {driver}
    for left in reversed(range(TRIES)):
        rows = otter.json(*words, code=None)
        off = _links_off(rows) + (_computing_off(rows) if computing else [])
        if not off:
            return
        assert left, off


def _links_off(rows: list[dict[str, Any]]) -> list[str]:
    """What is too far from what was asked, by more or by less."""
    found = {(r["link"], r["property"], r["from"]): r["measured"] for r in rows}
    return [
        f"{name} {what} of {end}: {found[name, what, end]} instead of {asked}"
        for (name, what), asked in ASKED.items()
        for end in "ab"
        if abs(found[name, what, end] - asked) > WITHIN[what]
    ]


def _computing_off(rows: list[dict[str, Any]]) -> list[str]:
    """The same of bursts of work in half a core; too long: beyond what the machine's load makes."""
    taken = {r["asked"]: r["measured"] for r in rows if (r["property"], r["from"]) == ("cpu", "a")}
    assert set(taken) == {0.01, 0.04, 0.1, 0.4}
    least, most = 0.4 - WITHIN["cpu"], (0.4 + WITHIN["cpu"]) * _crowded()
    return [] if least <= taken[0.4] <= most else [f"200 ms of work in half a core: {taken[0.4]} s"]


def _crowded() -> float:
    """How much longer work takes than it would on an idle machine."""
    begun, used = time.perf_counter(), time.thread_time()
    while time.thread_time() - used < 0.2:
        pass
    return max(1.0, (time.perf_counter() - begun) / (time.thread_time() - used))
