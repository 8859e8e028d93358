"""What time it is, by both clocks that leases are kept by."""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path

from otter_agent.links.leases import Moment


def now() -> Moment:
    """This moment."""
    return Moment(boot=_boot(), boot_s=time.clock_gettime(time.CLOCK_BOOTTIME), wall_s=time.time())


@cache
def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
