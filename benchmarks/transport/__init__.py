"""Two processes exchange messages over loopback: ours, the peers and the limit, in turns.

    cases/       one file per case: what is exchanged, by whom, and what the goals are
    peers/       one file per way to exchange it
    peer.py      what a peer is to the harness
    side.py      one of the two processes        (knows: one peer, one case)
    pairs.py     starts them, gives the turns    (knows: no peer)
    figures.py   what was measured               (pure)
    picture.py, page.py                          what `make bench-transport` writes

Both ends on one CPU, and pinned to two: the figures differ by five times. Every pair stays up
through all rounds of its case; in each round every pair has one turn, the others being idle.
"""

from __future__ import annotations

import asyncio

from benchmarks.row import Row
from benchmarks.transport import pairs
from benchmarks.transport.cases import CASES

__all__ = ["rows"]


def rows() -> list[Row]:
    """All cases, as `python -m benchmarks transport` shows them."""
    found: list[Row] = []
    for case in CASES.values():
        found += case.rows(asyncio.run(pairs.measure(case)))
    return found
