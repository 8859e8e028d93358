"""Which event loop modules run on: uvloop's where it is installed, else asyncio's own.

`OTTER_UVLOOP=0` turns uvloop off. Must not know: what runs on it.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import select


def new_event_loop() -> asyncio.AbstractEventLoop:
    """A fresh event loop."""
    if os.environ.get("OTTER_UVLOOP") != "0":
        try:
            loop: asyncio.AbstractEventLoop = importlib.import_module("uvloop").new_event_loop()
        except ImportError:
            pass
        else:
            return loop
    return asyncio.new_event_loop()


def epoll_of(loop: asyncio.AbstractEventLoop) -> int:
    """By what asyncio's own loop waits, if that is epoll; -1: it is another, or is in debug mode.

    Whoever waits by it takes care of what the loop has to do: `net/_short_receiving.c`.
    """
    inner = getattr(getattr(loop, "_selector", None), "_selector", None)
    known = type(loop) is asyncio.SelectorEventLoop and not loop.get_debug()
    inside = all(hasattr(loop, name) for name in ("_ready", "_scheduled", "_stopping"))
    # nest_asyncio goes around in a way of its own, and looks each time whether that is to end.
    around = getattr(asyncio.BaseEventLoop, "_run_once", None)
    usual = getattr(asyncio.SelectorEventLoop, "_run_once", around) is around
    if known and inside and usual and hasattr(select, "epoll") and isinstance(inner, select.epoll):
        return inner.fileno()
    return -1
