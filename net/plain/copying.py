"""Copying into shared memory. In C: `net/_short_copy.c`.

What is much is written past the caches there: its lines aren't fetched before they are overwritten,
and what the caches have stays in them. Ordinary copies are as fast only to where the last one went,
and slots take turns. Must not know: what is copied.
"""

from __future__ import annotations

import mmap


def copy_in(memory: mmap.mmap | bytearray, at: int, data: bytes | bytearray | memoryview, /) -> int:
    """Copy data into memory; where it ends.

    Raises:
        ValueError: It doesn't fit there.
    """
    end = at + len(data)
    if at < 0 or end > len(memory):
        raise ValueError("that doesn't fit there")
    memoryview(memory)[at:end] = data
    return end
