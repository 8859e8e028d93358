"""16 MiB arrays one way over TCP: one array sent over and over, received into an array each time.

The limit is a blocking `sendall` and `recv_into` the same array each time, which no peer may do:
what they hand over is the caller's to keep.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.row import Row
from benchmarks.transport import contenders as who
from benchmarks.transport.cases.case import Case
from benchmarks.transport.figures import Comparison, Results, rate_rows

TITLE = "16 MiB arrays, TCP"
SIZE_BYTES = 16 << 20
GOALS = {
    f"at least 0.85 × {who.SOCKETS}": (who.SOCKETS, 0.85),
    f"at least 0.9 × {who.PYZMQ_ASYNCIO}": (who.PYZMQ_ASYNCIO, 0.9),
}


def make() -> np.ndarray[Any, np.dtype[np.float32]]:
    """No two rows alike: a shifted array is noticed."""
    return np.arange(SIZE_BYTES // 4, dtype=np.float32).reshape(2048, -1)


def rows(results: Results) -> list[Row]:
    """Bytes per second, for each of ours in each placement."""
    return [
        row
        for placement in results.placements
        for ours in who.OURS
        for row in rate_rows(
            results, Comparison(TITLE, placement, ours, who.SOCKETS, who.PEERS, GOALS), SIZE_BYTES
        )
    ]


CASE = Case(
    name="arrays",
    title=TITLE,
    pattern="one way",
    make=make,
    contenders=(*who.OURS, *who.PEERS, who.SOCKETS),
    limit=(who.SOCKETS,),
    warm=4,
    count=16,
    rounds=5,
    rows=rows,
    axis="GB/s (more is better)",
    shown=lambda figures: (figures.rate * SIZE_BYTES / 1e9, None),
    size_bytes=SIZE_BYTES,
)
