"""What handles short messages, in C and in Python, and a desk of either, for their tests."""

from __future__ import annotations

import asyncio
from collections import deque

import pytest

from net import plain
from net.header import MESSAGE_START

try:
    from net import _short
except ImportError:  # there was no compiler
    _short = None
else:
    _short.begin(MESSAGE_START)

MADE = {"python": plain} | ({"c": _short} if _short is not None else {})
LIMIT = 10_000
COMPILED = pytest.mark.skipif(_short is None, reason="there was no compiler")


class EndedError(Exception):
    pass


def desk_of(made):
    class Desk(made.Desk):
        def __init__(self):
            self.waiters, self._items, self._current = deque(), deque(), None
            self._closed = self._ended = self._discarding = self.by_hand = False
            self.on_message, self._clock, self._loop = None, lambda: 50.0, None
            self.gave_up = []

        def take_now(self):
            if self._current is not None:
                current, self._current = self._current, None
                current.done()
            return self._items.popleft() if self._items else None

        def raise_if_ended(self):
            if self._ended or self._closed:
                raise EndedError

        def _get_loop(self):
            return asyncio.get_running_loop()

        def _gave_up(self, waiter):
            self.gave_up.append((waiter.cancelled(), waiter))
            if waiter in self.waiters:
                self.waiters.remove(waiter)

        def bring(self, item):
            self._items.append(item)
            self.waiters.popleft().wake_soon()

    return Desk()


async def taking(desk, how="next"):
    return await getattr(desk, how)()
