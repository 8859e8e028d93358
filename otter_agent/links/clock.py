"""What time it is, by both clocks that leases are kept by."""

from __future__ import annotations

import time
from functools import cache

from otter_agent.launcher import records
from otter_agent.links.leases import Moment


def now() -> Moment:
    """This moment."""
    return Moment(boot=_boot(), boot_s=time.clock_gettime(time.CLOCK_BOOTTIME), wall_s=time.time())


_boot = cache(records.boot_id)
