"""Meshes whose links are the kernel's queues: what a change by hand, a handover, 200 links take.

Runs in the guest kernel of tests/kernel where this machine's has no sch_netem; there one processor
does everything, the modules, the agent and the measuring.
"""

from __future__ import annotations

from benchmarks import handover, shape
from benchmarks.fidelity import cost
from benchmarks.guest import with_netem
from benchmarks.row import Row


def rows() -> list[Row]:
    """As of the driver in user space: `shape.py`, `handover.py`, `fidelity/cost.py`."""
    return with_netem("netem-meshes", _rows)


def _rows() -> list[Row]:
    others = [*handover.rows(), *cost.mesh()]
    for row in others:
        row["name"] = f"netem: {row['name']}"
    return [*shape.measured(shape.COUNT, "netem: "), *others]
