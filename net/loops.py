"""Which event loop modules run on: uvloop's where it is installed, else asyncio's own.

`OTTER_UVLOOP=0` turns uvloop off. Must not know: what runs on it.
"""

from __future__ import annotations

import asyncio
import importlib
import os


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
