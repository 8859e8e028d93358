"""What bare timers are late by, in the same seconds as what is measured.

A process on each processor that wants to be woken each millisecond, before all others. Who was held
up for five is late five times: packets that come due meanwhile would be, too.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection

from benchmarks.fidelity.case import quantile

_EVERY_S = 0.001
_PRIORITY = 60


class Late:
    """By how much, in seconds; there once the measurement is over.

    Attributes:
        values: Sorted.
    """

    def __init__(self) -> None:
        self.values: list[float] = []

    def quantile(self, share: float) -> float:
        """Of them."""
        return quantile(self.values, share)

    def packets(self, rate_bps: float, size: int) -> float:
        """So many packets come at once after the latest, or who carries them loses the rate."""
        return 1 + self.values[-1] * rate_bps / 8 / size


@contextlib.contextmanager
def bare() -> Iterator[Late]:
    """Measure until the end of the block."""
    context, late = multiprocessing.get_context("spawn"), Late()
    ways, processes = [], []
    for cpu in sorted(os.sched_getaffinity(0)):
        ours, theirs = context.Pipe()
        processes.append(context.Process(target=_wait, args=(cpu, theirs), daemon=True))
        processes[-1].start()
        theirs.close()  # if it dies that is an error, and not waited for
        ways.append(ours)
    for way in ways:
        way.recv()  # it has begun
    try:
        yield late
    finally:
        for way in ways:
            way.send(None)
            late.values += way.recv()
        for process in processes:
            process.join()
        late.values.sort()


def _wait(cpu: int, way: Connection) -> None:
    os.sched_setaffinity(0, {cpu})
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_PRIORITY))
    found: list[float] = []
    way.send(None)
    due = time.monotonic()
    while not way.poll():
        due += _EVERY_S
        time.sleep(max(0.0, due - time.monotonic()))
        found.append(time.monotonic() - due)
    way.send(found)
