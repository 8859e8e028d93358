"""How a helper ends: at a signal, in its loop's own time."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable
from typing import Protocol


class Loop(Protocol):
    """Who waits for descriptors, until it is stopped."""

    stopped: bool

    def watch(self, descriptor: int, events: int, ready: Callable[[int], None]) -> None:
        """Call `ready` on events of a descriptor."""


def stop_on_sigterm(loop: Loop) -> None:
    """SIGTERM ends it; Python's own handlers run once the loop has been woken."""
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

    def woken(events: int) -> None:
        os.read(reader, 4096)

    def stop(number: int, frame: object) -> None:
        loop.stopped = True

    loop.watch(reader, select.EPOLLIN, woken)
    signal.signal(signal.SIGTERM, stop)
