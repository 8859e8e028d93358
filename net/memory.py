"""Memory for what arrives: aligned, and large blocks used again instead of faulted in anew.

A fresh block of 16 MiB costs 4,096 page faults, a third of the time it takes to receive it. So a
block whose last view is gone is kept for the next message of its size. Must not know: messages.
"""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict, deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

ALIGN = 64
"""Bytes: a cache line, and what the widest vector instructions want."""
POOLED_FROM = 256 * 1024
"""Smaller blocks come from malloc's own free lists."""
POOL_BYTES = 24 * 2**20
"""Most that waits for its next use: one block of 16 MiB and some smaller ones."""
_STEP = 64 * 1024

Block = NDArray[np.uint8]


def aligned(nbytes: int) -> Block:
    """Flat writable memory that starts at a multiple of 64 and that nothing else refers to.

    Args:
        nbytes: How much; its content is undefined.

    Raises:
        MemoryError: There isn't that much. (Pages are touched only when they are written to.)
    """
    if nbytes >= POOLED_FROM:
        return _POOL.take(nbytes)
    return _from(np.empty(nbytes + ALIGN, np.uint8), nbytes)


def _from(store: Block, nbytes: int) -> Block:
    start = -store.__array_interface__["data"][0] % ALIGN
    return store[start : start + nbytes]


class Pool:
    """Blocks that wait for their next use.

    Views end in any thread, and in the middle of anything (the garbage collector): what comes back
    is noted, and put away by who finds nobody else at it. Nobody ever waits for anybody.

    Args:
        limit_bytes: Most that waits; the longest unused go first.
    """

    def __init__(self, limit_bytes: int = POOL_BYTES) -> None:
        self._limit = limit_bytes
        self._spare: OrderedDict[int, list[Block]] = OrderedDict()
        self._spare_bytes = 0
        self._putting_away = threading.Lock()
        self._returned: deque[Block] = deque()
        self._lent: dict[int, tuple[weakref.ref[Any], Block]] = {}

    def take(self, nbytes: int) -> Block:
        """As `aligned`."""
        room = nbytes + -nbytes % _STEP + ALIGN
        store = self._spare_of(room)
        if store is None:
            store = np.empty(room, np.uint8)
        # An owner of its own, through a memoryview: numpy gives every later view this very object
        # as base, or one that holds it, so its end is the end of them all.
        owner: Block = np.frombuffer(memoryview(store), np.uint8)  # type: ignore[arg-type]
        watch = weakref.ref(owner, self._back)
        self._lent[id(watch)] = (watch, store)
        return _from(owner, nbytes)

    def _back(self, gone: weakref.ref[Any]) -> None:
        """The last view is gone; called in whatever thread dropped it."""
        _, store = self._lent.pop(id(gone))
        if store.nbytes <= self._limit:
            self._returned.append(store)
            self._put_away()

    def _spare_of(self, room: int) -> Block | None:
        """One that waits, unless somebody else is at them now."""
        store = None
        if self._putting_away.acquire(blocking=False):
            try:
                if waiting := self._spare.get(room):
                    store = waiting.pop()
                    self._spare_bytes -= room
            finally:
                self._putting_away.release()
        self._put_away()  # what came back meanwhile
        return store

    def _put_away(self) -> None:
        """Let what came back wait. Who is at that already does it for us."""
        while self._returned and self._putting_away.acquire(blocking=False):
            try:
                if self._returned:
                    self._keep(self._returned.popleft())
            finally:
                self._putting_away.release()

    def _keep(self, store: Block) -> None:
        self._spare.setdefault(store.nbytes, []).append(store)
        self._spare.move_to_end(store.nbytes)
        self._spare_bytes += store.nbytes
        while self._spare_bytes > self._limit:
            room, blocks = next(iter(self._spare.items()))
            if blocks:
                blocks.pop()
                self._spare_bytes -= room
            if not blocks:
                del self._spare[room]

    @property
    def spare_bytes(self) -> int:
        """What waits."""
        return self._spare_bytes

    @property
    def lent(self) -> int:
        """Blocks in use."""
        return len(self._lent)


_POOL = Pool()
