"""One message on its way in: what has come of it, what is missing, what parity can mend. Pure.

    missing ── fragment ──► complete     (a block: any k of its k + r fragments)
       └────── deadline ──► given up, or delivered with zeros and the ranges that are missing

Must not know: asyncio, sockets, the clock, sessions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from net.datagram.fragment import Shape
from net.datagram.parity import mend, words
from net.memory import aligned

Bytes = NDArray[np.uint8]


class Assembly:
    """A message of which something has come.

    Args:
        shape: How it is cut.
        expires: When it is given up.

    Attributes:
        frontier: All fragments below it have been sent once.
        recovered: Fragments that were computed.
    """

    __slots__ = (
        "_asked", "_count", "_have", "_memory", "_needs", "_open", "_parity", "_rows", "expires",
        "frontier", "recovered", "shape",
    )  # fmt: skip

    def __init__(self, shape: Shape, expires: float) -> None:
        self.shape, self.expires = shape, expires
        self.frontier = 0
        self.recovered = 0
        self._count = 0
        self._memory: Bytes = aligned(shape.count * shape.size)
        self._rows = self._memory.reshape(shape.count, shape.size)
        self._have = bytearray(shape.total)
        self._needs = [shape.block_count(block) for block in range(shape.blocks)]
        self._open = shape.blocks
        self._parity: dict[int, dict[int, NDArray[np.uint64]]] = {}
        self._asked: NDArray[np.float64] | None = None

    @property
    def nbytes(self) -> int:
        """Memory it may take: the message's and its parity's."""
        return self.shape.total * self.shape.size

    @property
    def complete(self) -> bool:
        """Whether all of it is there."""
        return self._open == 0

    def add(self, index: int, payload: Bytes) -> bool:
        """A fragment, of the length that the shape says; False: it has been here."""
        shape = self.shape
        if self._have[index]:
            return False
        self._have[index] = 1
        self._count += 1
        if index >= self.frontier:
            self.frontier = index + 1
        if index < shape.count:
            block = index % shape.blocks
            start = index * shape.size
            self._memory[start : start + len(payload)] = payload
        else:
            number, block = divmod(index - shape.count, shape.blocks)
            if self._needs[block] > 0:
                kept = self._parity.setdefault(block, {})
                kept[number] = words(np.array(payload).reshape(1, -1))[0]
        self._needs[block] -= 1
        if self._needs[block] == 0:
            self._finish(block)
        return True

    def add_run(self, first: int, payloads: Bytes) -> bool:
        """Consecutive fragments with none of parity, [n, size]; False: add them one by one."""
        stop = first + len(payloads)
        if self.shape.blocks > 1 or stop > self.shape.count or any(self._have[first:stop]):
            return False
        if stop == self.shape.count and self.shape.bytes_of(stop - 1) != self.shape.size:
            return False
        if self._needs[0] < len(payloads) or (self.shape.parity and self._parity):
            return False
        self._rows[first:stop] = payloads
        self._count += len(payloads)
        self._have[first:stop] = b"\1" * len(payloads)
        self.frontier = max(self.frontier, stop)
        self._needs[0] -= len(payloads)
        if self._needs[0] == 0:
            self._finish(0)
        return True

    def _finish(self, block: int) -> None:
        """Enough of a block has come: compute what has not."""
        shape = self.shape
        self._open -= 1
        kept = self._parity.pop(block, None)
        if not kept:
            return
        lost = self._lost(block)
        last = shape.count - 1
        if last % shape.blocks == block and self._have[last]:
            self._memory[shape.length :] = 0  # the sender computed with zeros there
        mend(shape, block, words(self._rows), lost, kept)
        self.recovered += len(lost)
        for place in lost:
            self._have[block + place * shape.blocks] = 1

    def _lost(self, block: int) -> list[int]:
        have = np.frombuffer(self._have, np.uint8)[block : self.shape.count : self.shape.blocks]
        return [int(place) for place in np.flatnonzero(have == 0)]

    def close(self) -> None:
        """The sender has sent all of it once."""
        self.frontier = self.shape.total

    @property
    def gap(self) -> bool:
        """Whether something that was sent is not here, and parity that is to come can't mend it."""
        if self._count >= self.frontier:  # the usual case, at no cost
            return False
        return any(need > self._coming(block) for block, need in enumerate(self._needs) if need > 0)

    def _coming(self, block: int) -> int:
        """Fragments of a block that are yet to be sent for the first time."""
        shape = self.shape
        if self.frontier >= shape.total:
            return 0
        have = np.frombuffer(self._have, np.uint8)
        data = have[: shape.count][block :: shape.blocks]
        parity = have[shape.count :][block :: shape.blocks]
        first = max(0, -(-(self.frontier - block) // shape.blocks))
        first_parity = max(0, -(-(self.frontier - shape.count - block) // shape.blocks))
        ahead = np.concatenate([data[first:], parity[first_parity:]])
        return len(ahead) - int(np.count_nonzero(ahead))

    def wanted(self, now: float, again_s: float) -> NDArray[np.intp]:
        """Indices to ask for: as many as each block lacks, and none asked for within `again_s`."""
        shape = self.shape
        if self._asked is None:
            self._asked = np.full(shape.count, -np.inf)
        have = np.frombuffer(self._have, np.uint8)
        found = []
        for block in range(shape.blocks):
            lacking = self._needs[block] - self._coming(block) if self._needs[block] > 0 else 0
            if lacking <= 0:
                continue
            sent = min(self.frontier, shape.count)
            lost = block + shape.blocks * np.flatnonzero(have[block : sent : shape.blocks] == 0)
            waiting = self._asked[lost] > now - again_s
            lacking -= int(np.count_nonzero(waiting))
            if lacking > 0:
                found.append(lost[~waiting][:lacking])
        if not found:
            return np.zeros(0, np.intp)
        wanted = np.sort(np.concatenate(found))
        self._asked[wanted] = now
        return wanted

    def take(self) -> Bytes:
        """The message; what has not come is zeros."""
        if self._open:
            for start, stop in self.missing():
                self._memory[start:stop] = 0
        return self._memory[: self.shape.length]

    def missing(self) -> list[tuple[int, int]]:
        """Ranges of bytes that have not come."""
        shape = self.shape
        have = np.frombuffer(self._have, np.uint8)[: shape.count]
        edges = np.flatnonzero(np.diff(np.concatenate([[1], have, [1]]).astype(np.int8)))
        return [
            (int(first) * shape.size, min(int(after) * shape.size, shape.length))
            for first, after in edges.reshape(-1, 2)
        ]
