"""Beside a module's log: which part of it was written when, and from where on it is kept.

    LOG.marks   "otterlog"  base (8)   then any number of   size (8)  time in ns (8)

Little-endian. A mark says: at that time the log had that size. So the line that starts at `offset`
was begun at the time of the first mark whose size is above it. Bytes before `base` are a hole in
the file. Standard library only: the launcher writes it, the agent reads it.
"""

from __future__ import annotations

import contextlib
import os
import struct
from bisect import bisect_left, bisect_right

MAGIC = b"otterlog"
_HEAD = struct.Struct("<8sQ")
_MARK = struct.Struct("<QQ")
MOST_MARKS = 1 << 16
"""1 MiB. Then every second one of the older half goes, and those of what is kept no more."""


def path_of(log: str) -> str:
    """Where the marks of a log are."""
    return f"{log}.marks"


class Writer:
    """Writes the marks of one log; no descriptor is kept.

    Args:
        log: Path of the log.
    """

    def __init__(self, log: str) -> None:
        self._path = path_of(log)
        head, marks = _load(self._path)
        self.base = head
        self._count = len(marks)
        self.size = marks[-1][0] if marks else head
        """At the last mark."""

    def add(self, size: int, time_ns: int) -> None:
        """The log has that size at that time."""
        if self._count >= MOST_MARKS:
            self._thin()
        self._write(_MARK.pack(size, time_ns))
        self._count += 1
        self.size = size

    def set_base(self, base: int) -> None:
        """From now on only what comes after `base` is kept; to be said before it goes."""
        self.base = base
        with self._open() as fd:
            os.pwrite(fd, _HEAD.pack(MAGIC, base), 0)

    def restart(self) -> None:
        """The log was emptied."""
        self._replace(0, [])

    def _thin(self) -> None:
        _, marks = _load(self._path)
        kept = [mark for mark in marks if mark[0] > self.base]
        half = len(kept) // 2
        self._replace(self.base, kept[:half:2] + kept[half:])

    def _replace(self, base: int, marks: list[tuple[int, int]]) -> None:
        fresh = f"{self._path}.new"
        with open(fresh, "wb") as file:
            file.write(_HEAD.pack(MAGIC, base) + b"".join(_MARK.pack(*mark) for mark in marks))
        os.rename(fresh, self._path)
        self.base, self._count = base, len(marks)
        self.size = marks[-1][0] if marks else base

    def _write(self, data: bytes) -> None:
        with self._open() as fd:
            size = os.fstat(fd).st_size
            if size < _HEAD.size or os.pread(fd, len(MAGIC), 0) != MAGIC:
                os.ftruncate(fd, 0)
                size = os.pwrite(fd, _HEAD.pack(MAGIC, self.base), 0)
            os.pwrite(fd, data, size - (size - _HEAD.size) % _MARK.size)  # over half a mark, if any

    @contextlib.contextmanager
    def _open(self):  # type: ignore[no-untyped-def]  # noqa: ANN202 - typing a generator costs an import
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            yield fd
        finally:
            os.close(fd)


class Reader:
    """What the marks of a log say; call `refresh` for what is new.

    Args:
        log: Path of the log.
    """

    def __init__(self, log: str) -> None:
        self._path = path_of(log)
        self._sizes: list[int] = []
        self._times: list[int] = []
        self._seen = (0, 0)
        self.base = 0
        """Where the log's kept part begins, as of the last `refresh`."""

    def refresh(self) -> None:
        """Look again; one `stat` if nothing changed."""
        try:
            there = os.stat(self._path)
        except FileNotFoundError:
            return
        seen = (there.st_ino, there.st_size)
        if seen == self._seen:
            return
        self.base, marks = _load(self._path)
        self._sizes = [size for size, _ in marks]
        self._times = [time for _, time in marks]
        self._seen = seen

    def kept_from(self) -> int:
        """Where the log's kept part begins right now."""
        try:
            with open(self._path, "rb", buffering=0) as file:
                data = file.read(_HEAD.size)
        except FileNotFoundError:
            return 0
        return int(_HEAD.unpack(data)[1]) if len(data) == _HEAD.size else 0

    def time_of(self, offset: int) -> float | None:
        """When the line that starts at `offset` was begun; None: not marked yet."""
        at = bisect_right(self._sizes, offset)
        return self._times[at] / 1e9 if at < len(self._times) else None

    def offset_since(self, time: float) -> int:
        """No line that was begun at `time` or later starts before this offset."""
        at = bisect_left(self._times, int(time * 1e9))
        return self._sizes[at - 1] if at else 0


def _load(path: str) -> tuple[int, list[tuple[int, int]]]:
    """The base and all marks; a file that is no such file has none."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        return 0, []
    if len(data) < _HEAD.size or not data.startswith(MAGIC):
        return 0, []
    whole = len(data) - (len(data) - _HEAD.size) % _MARK.size
    return _HEAD.unpack_from(data)[1], list(_MARK.iter_unpack(data[_HEAD.size : whole]))
