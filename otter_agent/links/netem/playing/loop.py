"""The helper's loop: waits for what is due, and for descriptors.

Must not know: what is done.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from typing import Protocol

from otter_agent.links.realtime import Guard, counts_in_ticks

Ready = Callable[[int], None]
"""Called with the events of a descriptor."""
_LONGEST_S = 1.0
_TOGETHER_S = 0.002
"""How long it sleeps at least where waking costs much: what comes due by then is done together."""
_DEAR_S = 3e-6
"""Of a system call: as in a virtual machine that does them for its programs."""
_CALLS = 200


class Worker(Protocol):
    """What it does."""

    def go(self, now: float) -> tuple[float, float]:
        """Do what is due; what time it is then, and when it has to go on at the latest."""


class Loop:
    """One thread.

    Args:
        guard: Of the process's place before others.

    Attributes:
        stopped: Set it to end `run`.
    """

    def __init__(self, guard: Guard) -> None:
        self.stopped = False
        self._guard = guard
        self._epoll = select.epoll()
        self._dear = _call_s() > _DEAR_S
        self._ready: dict[int, Ready] = {}
        self._in_ticks = counts_in_ticks()
        self._busy_s = 0.0

    def watch(self, descriptor: int, events: int, ready: Ready) -> None:
        """Call `ready` on events of a descriptor; for one already watched, other events."""
        if descriptor in self._ready:
            self._epoll.modify(descriptor, events)
        else:
            self._epoll.register(descriptor, events)
        self._ready[descriptor] = ready

    def unwatch(self, descriptor: int) -> None:
        """Call nothing any more."""
        if self._ready.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def run(self, worker: Worker) -> None:
        """Until `stopped`."""
        # epoll's own waiting is in whole milliseconds; select's is in microseconds.
        waited, wait = [self._epoll], select.select
        while not self.stopped:
            # As few looks at the clock as may be: in some virtual machines each is a system call.
            begun = time.monotonic()
            now, next_s = worker.go(begun)
            self._busy_s += now - begun
            if self._guard.due(now):
                self._guard.look(now, self._used())
            if self._dear or not self._guard.calm:
                next_s = max(next_s, now + _TOGETHER_S)
            if not wait(waited, (), (), max(0.0, min(_LONGEST_S, next_s - now)))[0]:
                continue
            begun = time.monotonic()
            for descriptor, events in self._epoll.poll(0):
                ready = self._ready.get(descriptor)
                if ready is not None:
                    ready(events)
            self._busy_s += time.monotonic() - begun

    def _used(self) -> float:
        """Processor time so far; where it isn't measured, the time in which this did something."""
        return self._busy_s if self._in_ticks else time.process_time()

    def close(self) -> None:
        """Let go of it."""
        self._epoll.close()


def _call_s() -> float:
    """What a system call costs."""
    begun = time.monotonic()
    for _ in range(_CALLS):
        os.getppid()
    return (time.monotonic() - begun) / _CALLS
