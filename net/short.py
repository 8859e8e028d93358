"""How short messages are handled: in C where `net/_short` could be built, else in Python.

`OTTER_PURE=1` keeps it to Python. Must not know: what either does.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from net import plain

if TYPE_CHECKING:  # they are the same to whoever uses them
    from net.plain import (
        Arrivals,
        Debts,
        Desk,
        Fields,
        Handing,
        Link,
        Ready,
        Scratch,
        Seen,
        Shown,
        Tally,
        Waiter,
        Way,
        copy_in,
        encode,
    )

    COMPILED: bool
else:
    try:
        if os.environ.get("OTTER_PURE", "0") not in ("", "0"):
            raise ImportError("not wanted")
        from net import _short as _chosen
    except ImportError:  # not built, or for another machine
        _chosen = plain
    else:
        from net.header import MESSAGE_START

        _chosen.begin(MESSAGE_START)
    COMPILED = _chosen is not plain
    Fields, Scratch, encode = _chosen.Fields, _chosen.Scratch, _chosen.encode
    Waiter, Desk = _chosen.Waiter, _chosen.Desk
    Tally, Link, Debts, Way = _chosen.Tally, _chosen.Link, _chosen.Debts, _chosen.Way
    Seen, Shown, Arrivals = _chosen.Seen, _chosen.Shown, _chosen.Arrivals
    Ready, Handing, copy_in = _chosen.Ready, _chosen.Handing, _chosen.copy_in

__all__ = [
    "COMPILED",
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
