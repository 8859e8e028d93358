"""The way of a short message, in Python: what `net/_short` does in C where that could be built.

Both hold the same contract, tests/unit/net/test_short.py; `net.short` takes one of them. The types
here are one half each: what the other half, a subclass elsewhere in `net`, does with them, it does
the same with those in C. Must not know: what these are.
"""

from __future__ import annotations

from net.plain.arrays import Handing, Ready
from net.plain.copying import copy_in
from net.plain.fields import Fields, Scratch, encode
from net.plain.receiving import Arrivals, Seen, Shown
from net.plain.sending import Debts, Link, Tally, Way
from net.plain.waiting import Desk, Waiter

__all__ = [
    "Arrivals",
    "Debts",
    "Desk",
    "Fields",
    "Handing",
    "Link",
    "Ready",
    "Scratch",
    "Seen",
    "Shown",
    "Tally",
    "Waiter",
    "Way",
    "copy_in",
    "encode",
]
