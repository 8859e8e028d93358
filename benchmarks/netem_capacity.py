"""How much a kernel's queues carry before a run is no longer what was asked for.

    python -m benchmarks netem-capacity

As of the driver in user space (`capacity.py`). Runs in the guest kernel of tests/kernel where this
machine's has no sch_netem: one processor there does everything, so who sends and the kernel that
carries share it, and a system call takes 7 µs. What real machines carry is more: no figure of the
guest is one that `otterctl plan` could warn by.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks import capacity
from benchmarks.guest import with_netem
from benchmarks.row import Row
from otter_agent.links.netem import NetemDriver

_RUN_S = 5.0
"""As long as the agent's windows: how late a kernel is, is seen 40 times a second."""
_IDLE = (3, 4)
"""Of the line `cpu` in /proc/stat: idle, and waiting for disks."""


def rows() -> list[Row]:
    """Packets a second, by number of links."""
    return with_netem("netem-capacity", _rows)


def _rows() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        driver = NetemDriver(Path(folder))
        try:
            driver.probe()
            return capacity.measured(
                capacity.Carrier(
                    name="netem", driver=driver, train=1, run_s=_RUN_S, used_s=_busy_s,
                    whose="of a processor, all that ran there: who sends, too",
                )
            )  # fmt: skip
        finally:
            driver.end()


def _busy_s() -> float:
    """Of all processors."""
    words = Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]
    return sum(int(word) for n, word in enumerate(words) if n not in _IDLE) / 100
