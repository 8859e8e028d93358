"""How short messages are handled: in C where `net/_short` could be built, else in Python.

`OTTER_PURE=1` keeps it to Python. Must not know: what either does.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from net import plain

if TYPE_CHECKING:  # they are the same to whoever uses them
    from net.plain import Fields, Scratch, Waiter, encode

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
    Fields, Scratch, Waiter = _chosen.Fields, _chosen.Scratch, _chosen.Waiter
    encode = _chosen.encode

__all__ = ["COMPILED", "Fields", "Scratch", "Waiter", "encode"]
