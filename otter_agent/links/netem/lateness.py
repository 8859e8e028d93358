"""How late this machine's timers are: what a queue has to make up for, and no more than that.

A virtual machine's are late by milliseconds whenever another has its processor, whatever it asks
for. Must not know: qdiscs.
"""

from __future__ import annotations

import contextlib
import os
import time

LEAST_NS, USUAL_NS, MOST_NS = 250_000, 10_000_000, 20_000_000
"""What is made up for; `USUAL_NS` where nothing was measured: a burst is less harm than a rate that
isn't had (on a busy virtual machine half of 100 Mbit/s, with 1 ms)."""
_SLEEP_S = 0.0005
_COUNT = 200
_BEYOND = 2
"""Times what 99 of 100 timers are late by at most."""


def made_up_ns() -> int:
    """Measured, in a tenth of a second or two; call it in a thread that ends: it may run first."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    late = []
    for _ in range(_COUNT):
        due = time.monotonic_ns() + round(_SLEEP_S * 1e9)
        time.sleep(_SLEEP_S)
        late.append(time.monotonic_ns() - due)
    late.sort()
    return min(MOST_NS, max(LEAST_NS, _BEYOND * late[_COUNT * 99 // 100]))
