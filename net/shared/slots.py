"""Which part of a region is free: first fit, lowest address first. Pure.

    0       8192            40960                 size
    | taken | free          | taken | free        |

Lowest first, so that pages which have been touched once are used again before new ones. Must not
know: memory, sockets, messages.
"""

from __future__ import annotations

from bisect import bisect_left

GRAIN = 4096
"""Bytes: slots start at and take whole pages, which keeps gaps from splintering."""


def rounded(nbytes: int) -> int:
    """What a slot of `nbytes` takes."""
    return max(GRAIN, nbytes + -nbytes % GRAIN)


class Slots:
    """The slots of one region.

    Args:
        size: Of the region, bytes.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._gaps = [(0, size)] if size else []
        self._taken: dict[int, int] = {}

    def take(self, nbytes: int) -> int | None:
        """Where a new slot of at least `nbytes` begins; None: there is no gap of that size."""
        room = rounded(nbytes)
        for index, (start, end) in enumerate(self._gaps):
            if end - start >= room:
                self._taken[start] = room
                if end - start == room:
                    del self._gaps[index]
                else:
                    self._gaps[index] = (start + room, end)
                return start
        return None

    def give(self, start: int) -> None:
        """The slot that begins at `start` is free again.

        Raises:
            KeyError: There is none.
        """
        end = start + self._taken.pop(start)
        index = bisect_left(self._gaps, (start, end))
        if index < len(self._gaps) and self._gaps[index][0] == end:
            end = self._gaps.pop(index)[1]
        if index and self._gaps[index - 1][1] == start:
            index -= 1
            start = self._gaps.pop(index)[0]
        self._gaps.insert(index, (start, end))

    @property
    def used_bytes(self) -> int:
        """In slots that are taken."""
        return sum(self._taken.values())

    @property
    def empty(self) -> bool:
        """Whether no slot is taken."""
        return not self._taken

    @property
    def gaps(self) -> tuple[tuple[int, int], ...]:
        """What is free, in order: start and end."""
        return tuple(self._gaps)
