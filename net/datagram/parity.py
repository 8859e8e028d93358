"""Forward error correction of one message: parity of its blocks, and back. Pure.

A systematic Reed-Solomon code (Cauchy matrix): of a block's k fragments and r of parity, any k give
all. Must not know: the wire, asyncio, sockets, the clock.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from net.datagram import gf256
from net.datagram.fragment import Shape

Rows = NDArray[np.uint64]


def words(rows: NDArray[np.uint8]) -> Rows:
    """The same memory (each row contiguous, aligned, a multiple of 8 bytes) as words."""
    return rows.view(np.uint64)


def protect(shape: Shape, data: Rows, parity: Rows) -> None:
    """Fill in the parity of a whole message.

    Args:
        shape: How it is cut.
        data: uint64 [count, size / 8], zeros after the message's end.
        parity: uint64 [blocks * parity, size / 8], to be written.
    """
    if not shape.parity:
        return
    matrix = gf256.cauchy()
    for block in range(shape.blocks):
        rows = data[block :: shape.blocks]
        parity[block :: shape.blocks] = gf256.combine(matrix[: shape.parity, : len(rows)], rows)


def mend(shape: Shape, block: int, data: Rows, lost: list[int], parity: Mapping[int, Rows]) -> None:
    """Compute what is lost of one block.

    Args:
        shape: How the message is cut.
        block: Which block.
        data: uint64 [count, size / 8]; rows that are lost are written.
        lost: Places within the block (0 …) of what is lost.
        parity: Parity fragments that have arrived, by their number within the block; at least as
            many as are lost.
    """
    if not lost:
        return
    rows = data[block :: shape.blocks]
    numbers = sorted(parity)[: len(lost)]
    present = np.ones(len(rows), bool)
    present[lost] = False
    kept = np.flatnonzero(present)
    matrix = gf256.cauchy()[numbers]
    sums = np.stack([parity[number] for number in numbers])
    if len(kept):
        sums ^= gf256.combine(matrix[:, kept], rows[kept])
    rows[lost] = gf256.combine(gf256.inverse(matrix[:, lost]), sums)
