"""What mahimahi's link shell does with packets: the reference for opportunities, one by one."""

from __future__ import annotations

from collections.abc import Sequence


def mahimahi(
    times_ms: Sequence[int], offers: Sequence[tuple[int, int]], until_ms: int
) -> list[tuple[int, int]]:
    """Departures as (ms, number), as its manual and paper have it.

    Whole milliseconds; each opportunity of 1504 bytes serves packets of size + 4, in part too.

    Args:
        times_ms: The lines of the trace.
        offers: (ms, IP bytes) of packets, in order.
        until_ms: Where to stop.
    """
    waiting: list[tuple[int, int, int]] = []
    out: list[tuple[int, int]] = []
    left = cycle = 0
    coming = [(at, number, size + 4) for number, (at, size) in enumerate(offers)]
    while cycle <= until_ms:
        for opportunity in times_ms:
            at, budget = cycle + opportunity, 1504
            while coming and coming[0][0] < at:  # one of the same ms comes after it
                waiting.append(coming.pop(0))
            while budget and waiting:
                left = left or waiting[0][2]
                part = min(left, budget)
                left, budget = left - part, budget - part
                if not left:
                    out.append((at, waiting.pop(0)[1]))
        cycle += times_ms[-1]
    return [(at, number) for at, number in out if at <= until_ms]
