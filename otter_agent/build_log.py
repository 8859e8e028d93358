"""A module's build log: every line to a file, some of them as progress events."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TextIO

PROGRESS_EVERY_S = 0.5
"""A build may print thousands of lines a second; watchers get the newest one this often."""


class BuildLogFile:
    """Call it with each line. A context manager; the file is truncated at first."""

    def __init__(self, path: Path, progress: Callable[[str], None]) -> None:
        self._path = path
        self._progress = progress
        self._file: TextIO | None = None
        self._next = 0.0

    def __enter__(self) -> BuildLogFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()

    def __call__(self, line: str) -> None:
        """Take one line of build output."""
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("w", encoding="utf-8", errors="replace")
        self._file.write(line.rstrip("\n") + "\n")
        self._file.flush()
        now = time.monotonic()
        if now >= self._next and line.strip() and not line.startswith("WARNING: "):
            self._next = now + PROGRESS_EVERY_S
            self._progress(line.strip()[:200])
