"""What the timeline requested when, and when it was in force: the last changes, numbers, a file.

The file is CSV, a line a change, and bounded; it is written as often as there is a buffer full of
it, or when it is asked for. Must not know: who plays, links' drivers.
"""

from __future__ import annotations

import contextlib
import csv
import io
import math
from collections import deque
from collections.abc import Iterable
from pathlib import Path

import msgspec

from otter_agent import api

COLUMNS = ("epoch", "at_s", "applied_s", "link", "from", "to", "host", "module", "change", "error")
"""`epoch`: seconds since 1970; then seconds from it."""
KEEP = 1000
"""The last changes, in memory."""
MAX_FILE_BYTES = 16 << 20
"""Some 150,000 changes; what comes then is only counted."""
LATE_S = 0.005
"""What is promised of each."""
FIRST_S = 0.2
"""From the epoch on: of what begins with it, budgets and cells in the kernel are changed when the
agent gets to it."""
_BUFFER = 256
_STEP = 1.1
_LEAST_S = 1e-5
_BINS = 128
"""Bins of lateness: from 10 us, each a tenth wider, to 2 s."""


class Record:
    """Of one mesh.

    Args:
        path: The file; it is added to.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines: list[tuple[object, ...]] = []
        self.last: deque[api.TimelineChange] = deque(maxlen=KEEP)
        self.reset()

    def reset(self) -> None:
        """A new epoch: numbers begin again; the file goes on."""
        self._bins = [0] * _BINS
        self._count = self._failed = self._passed = self._late = 0
        self._sum_s = self._max_s = 0.0
        self.last.clear()

    def add(self, epoch: float, changes: Iterable[api.TimelineChange], passed: int = 0) -> None:
        """Changes that were made, or failed."""
        self._passed += passed
        for change in changes:
            self.last.append(change)
            self._lines.append(
                (
                    f"{epoch:.6f}",
                    f"{change.at_s:.6f}",
                    "" if change.applied_s is None else f"{change.applied_s:.6f}",
                    change.link,
                    change.source,
                    change.target,
                    change.host,
                    change.module,
                    msgspec.json.encode(change.change).decode(),
                    change.error,
                )
            )
            self._count += 1
            if change.applied_s is None:
                self._failed += 1
                continue
            late = max(0.0, change.applied_s - change.at_s)
            self._sum_s += late
            self._max_s = max(self._max_s, late)
            self._late += late > LATE_S and change.at_s > FIRST_S
            place = math.log(max(late, _LEAST_S) / _LEAST_S, _STEP)
            self._bins[min(_BINS - 1, math.ceil(place))] += 1

    @property
    def gathered(self) -> bool:
        """Whether there is anything to write."""
        return bool(self._lines)

    @property
    def full(self) -> bool:
        """Whether there is enough to write."""
        return len(self._lines) >= _BUFFER

    def write(self) -> None:
        """Bring what is gathered into the file; a full disk loses it. Blocking."""
        lines, self._lines = self._lines, []
        if not lines:
            return
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8", newline="") as file:
                if file.tell() < MAX_FILE_BYTES:
                    text = io.StringIO()
                    writer = csv.writer(text, lineterminator="\n")
                    writer.writerows([COLUMNS, *lines] if file.tell() == 0 else lines)
                    file.write(text.getvalue())

    def lateness(self) -> api.Lateness:
        """Over all since the epoch."""
        made = self._count - self._failed
        return api.Lateness(
            changes=self._count,
            failed=self._failed,
            passed=self._passed,
            mean_s=self._sum_s / made if made else 0.0,
            p99_s=min(self._quantile(0.99, made), self._max_s),
            max_s=self._max_s,
        )

    def punctuality(self) -> tuple[int, int]:
        """How many there were since the epoch, and how many of them came late."""
        return self._count, self._late

    def _quantile(self, share: float, count: int) -> float:
        left = share * count
        for place, number in enumerate(self._bins):
            left -= number
            if number and left <= 0:
                return _LEAST_S * _STEP**place
        return 0.0
