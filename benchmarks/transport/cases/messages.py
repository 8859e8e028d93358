"""4 KiB one way, as fast as the receiver takes them: what the handling of a message costs.

The limit is a blocking `sendall` per message, and `recv_into` for each.
"""

from __future__ import annotations

from benchmarks.row import Row
from benchmarks.transport import contenders as who
from benchmarks.transport.cases.case import Case
from benchmarks.transport.figures import Comparison, Results, rate_rows

TITLE = "4 KiB one way"
GOALS = {f"at least 2 × {who.PYZMQ_ASYNCIO}": (who.PYZMQ_ASYNCIO, 2.0)}


def rows(results: Results) -> list[Row]:
    """Messages per second, for each of ours in each placement."""
    return [
        row
        for placement in results.placements
        for ours in who.OURS
        for row in rate_rows(
            results, Comparison(TITLE, placement, ours, who.SOCKETS, who.PEERS, GOALS)
        )
    ]


CASE = Case(
    name="messages",
    title=TITLE,
    pattern="one way",
    make=lambda: bytes(range(256)) * 16,
    contenders=(*who.OURS, *who.PEERS, who.SOCKETS),
    limit=(who.SOCKETS,),
    warm=500,
    count=5000,
    rounds=5,
    rows=rows,
    axis="thousand messages a second (more is better)",
    shown=lambda figures: (figures.rate / 1e3, None),
)
