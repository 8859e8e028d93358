"""Packets leave only every so often, as on a shared radio. Pure.

Source: tc-netem(8), slot. Unlike there, slots come whether or not anything waits, and a packet
that comes between two leaves in the next.
"""

from __future__ import annotations

import math
from collections import deque

from net.links.chance import Draw


class Slots:
    """Waits for slots.

    Args:
        shortest_s: Between two slots.
        longest_s: Between two slots; times are drawn evenly.
        size_bytes: A slot is used up once so much has left in it; None: it never is.
        draw: Chance.
        now: When the first one begins to be waited for.
        start: Bytes before each packet that aren't counted.
    """

    def __init__(
        self,
        shortest_s: float,
        longest_s: float,
        size_bytes: int | None,
        draw: Draw,
        now: float,
        start: int = 0,
    ) -> None:
        self._shortest, self._span = shortest_s, longest_s - shortest_s
        self._size, self.draw = size_bytes, draw
        self._at = now
        self._start = start
        self._waiting: deque[bytes] = deque()

    @property
    def next_s(self) -> float:
        """When the next packets leave; infinite: none waits."""
        return self._at if self._waiting else math.inf

    def put(self, packet: bytes, at: float) -> None:
        """A packet that comes; slots up to `at` have been opened."""
        if not self._waiting:
            self._skip(at)
        self._waiting.append(packet)

    def open(self, until: float) -> list[tuple[float, bytes]]:
        """What leaves in the slots up to and at `until`."""
        out: list[tuple[float, bytes]] = []
        while self._waiting and self._at <= until:
            left = math.inf if self._size is None else self._size
            while self._waiting and left > 0:
                packet = self._waiting.popleft()
                left -= len(packet) - self._start
                out.append((self._at, packet))
            self._at += self._gap()
        return out

    def close(self) -> list[bytes]:
        """All that still waits."""
        left = list(self._waiting)
        self._waiting.clear()
        return left

    def _skip(self, at: float) -> None:
        """Let the slots pass in which nothing left; many at once, for none leaves a trace."""
        mean = self._shortest + self._span / 2
        many = int((at - self._at) / mean) - 1
        if many > 0:
            self._at += many * mean
        while self._at <= at:
            self._at += self._gap()

    def _gap(self) -> float:
        return self._shortest + self._span * self.draw()
