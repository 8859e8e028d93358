"""An event loop of one thread: descriptors, timers, dead children. Knows nothing of modules."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import selectors
import signal
import time
from collections.abc import Callable

Callback = Callable[[], None]


class Loop:
    """Calls back until stopped."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Callback]] = []
        self._order = itertools.count()
        self._running = True

    def on_readable(self, fd: int, callback: Callback) -> None:
        """Call `callback` whenever `fd` can be read."""
        self._selector.register(fd, selectors.EVENT_READ, callback)

    def want_write(self, fd: int, callback: Callback, *, also: Callback | None) -> None:
        """Call `also` when `fd` can be written, besides `callback` for reading; None: no more."""
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if also else 0)
        self._selector.modify(fd, events, callback if also is None else _Both(callback, also))

    def forget(self, fd: int) -> None:
        """No more calls for `fd`; to be said before it is closed."""
        with contextlib.suppress(KeyError):
            self._selector.unregister(fd)

    def call_later(self, delay_s: float, callback: Callback) -> None:
        """Call once; there is no way back, so the callback checks whether it still applies."""
        when = time.monotonic() + delay_s
        heapq.heappush(self._timers, (when, next(self._order), callback))

    def on_child(self, callback: Callback) -> None:
        """Call whenever children may have ended."""
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

        def woken() -> None:
            with contextlib.suppress(BlockingIOError):
                os.read(reader, 4096)
            callback()

        self.on_readable(reader, woken)

    def stop(self) -> None:
        """Return from `run` after this round."""
        self._running = False

    def run(self) -> None:
        """Go on until `stop`."""
        while self._running:
            for key, events in self._selector.select(self._timeout_s()):
                call = key.data
                if isinstance(call, _Both):
                    call(events)
                else:
                    call()
            now = time.monotonic()
            while self._timers and self._timers[0][0] <= now:
                heapq.heappop(self._timers)[2]()

    def _timeout_s(self) -> float | None:
        if not self._timers:
            return None
        return max(0.0, self._timers[0][0] - time.monotonic())


class _Both:
    """A callback for reading and one for writing."""

    def __init__(self, read: Callback, write: Callback) -> None:
        self._read, self._write = read, write

    def __call__(self, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._write()
        if events & selectors.EVENT_READ:
            self._read()
