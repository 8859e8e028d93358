"""Use case 1: what a module that waits takes beyond its framework and its model.

Beside each module a second process runs in the same environment that has no `net` (see `bare`).
Both are looked at at the same moment, each with its part of what they share (PSS). Loading leaves
much that is free; `net` gives it back, so the other is told to do so, too, and looked at again.
"""

from __future__ import annotations

import statistics

from benchmarks.ai import bare
from benchmarks.ai.use_case import MODULES, UseCase, use_case
from benchmarks.row import Row

GOAL_B = 30e6
TIMES = 3
TAKEN = """
def taken(process):
    for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return 1024 * int(line.split()[1])

before = taken("self")
ctypes.CDLL(None).malloc_trim(0)
print(json.dumps([taken(pid), taken("self"), before]))
"""


def rows() -> list[Row]:
    """A row for each module."""
    with use_case() as asked:
        return [_row(asked, module) for module in MODULES]


def _row(asked: UseCase, module: str) -> Row:
    taken = [bare.run(asked, module, TAKEN) for _ in range(TIMES)]
    ours, alone, before = (statistics.median(values) for values in zip(*taken, strict=True))
    return Row(
        name=f"{module} at rest, beyond its framework and model", unit="B", better="lower",
        ours=statistics.median(one - other for one, other, _ in taken), peers={}, limit=0.0,
        goal=GOAL_B, n=TIMES,
        note=f"{ours / 1e6:.0f} MB; without OTTER {alone / 1e6:.0f}, and {before / 1e6:.0f} before"
        " that gave back what loading left",
    )  # fmt: skip
