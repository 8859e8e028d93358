"""Reading a log that a module is writing: its last lines, and what comes after. Blocking, bounded.

Follows by looking at the size: a file that nobody writes costs one `fstat` per look. When a line
was begun is read from the marks beside the log (launcher/marks.py), and where its kept part begins.
Must not know: modules, asyncio.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from otter_agent.launcher.marks import Reader

CHUNK = 64 * 1024
LINE_LIMIT = 64 * 1024
"""Bytes; a longer line is cut into several, between characters."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line, or a piece of a long one, and when it was begun (seconds since 1970)."""

    text: str
    time: float


@dataclass(slots=True)
class Place:
    """Where a reader is: handed to another one, that goes on there.

    Attributes:
        file: Which file: device and inode; (0, 0): none yet.
        offset: The first byte of the next line.
    """

    file: tuple[int, int] = (0, 0)
    offset: int = 0


class LogFile:
    """One reader of a log. A file that isn't there yet is empty; one made anew is read anew."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._marks = Reader(str(path))
        self._fd = -1
        self._offset = 0
        self._rest = b""
        self._late = 0.0
        """The time of what isn't marked yet; 0: not known."""

    def close(self) -> None:
        """Give the descriptor back."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def grew(self) -> bool:
        """Whether there is something to read; cheap enough for an event loop."""
        if self._fd < 0:
            return self._path.exists()
        size = os.fstat(self._fd).st_size
        return size != self._offset or self._replaced()

    # --- where to begin ----------------------------------------------------------------------

    def seek(self, place: Place) -> None:
        """Go on where another reader was, if the file is still the same."""
        if self._open() and self._identity() == place.file:
            self._offset = place.offset

    @property
    def place(self) -> Place:
        """After the last complete line that was read."""
        if self._fd < 0:
            return Place()
        return Place(self._identity(), self._offset - len(self._rest))

    def seek_since(self, time: float) -> None:
        """Skip lines that were begun before `time`, as far as that takes no reading."""
        if not self._open():
            return
        self._marks.refresh()
        start = self._marks.offset_since(time)
        if start > self._offset:
            self._offset = start
            self._to_line_start()

    def seek_tail(self, lines: int) -> None:
        """Go to the start of the last `lines` lines, if that is ahead."""
        if not self._open():
            return
        first = self._offset
        position = os.fstat(self._fd).st_size
        wanted = lines + 1  # the newline before the first of them
        ends_open = position > 0 and os.pread(self._fd, 1, position - 1) != b"\n"
        wanted -= ends_open
        while position > first and wanted > 0:
            start = max(first, position - CHUNK)
            chunk = os.pread(self._fd, position - start, start)
            found = chunk.count(b"\n")
            if found >= wanted:
                position = start + _nth_last(chunk, wanted) + 1
                break
            wanted -= found
            position = start
        self._offset = position

    # --- reading -----------------------------------------------------------------------------

    def read(self) -> list[Line]:
        """Complete lines of the next chunk; empty if there is nothing new."""
        if not self._open():
            return []
        if os.fstat(self._fd).st_size < self._offset:  # truncated
            self._offset, self._rest = 0, b""
        data, self._late = os.pread(self._fd, CHUNK, self._offset), 0.0
        if (base := self._marks.kept_from()) > self._offset:
            return self._skip_to(base)
        start = self._offset - len(self._rest)
        self._offset += len(data)
        *whole, self._rest = (self._rest + data).split(b"\n")
        lines: list[Line] = []
        for line in whole:
            lines += self._lines(line, start)
            start += len(line) + 1
        if len(self._rest) > LINE_LIMIT:
            *full, self._rest = _cut(self._rest)
            for piece in full:
                lines += self._lines(piece, start)
                start += len(piece)
        return lines

    def flush(self) -> list[Line]:
        """The last line, if it has no newline."""
        rest, self._rest = self._rest, b""
        return self._lines(rest, self._offset - len(rest)) if rest else []

    def _lines(self, line: bytes, start: int) -> list[Line]:
        time = self._time_of(start)
        return [Line(piece.decode(errors="replace"), time) for piece in _cut(line)]

    def _time_of(self, offset: int) -> float:
        """Not marked yet: written just now, or while nobody was there to mark it."""
        time = self._marks.time_of(offset)
        if time is None and not self._late:
            self._marks.refresh()
            time = self._marks.time_of(offset)
            self._late = 0.0 if time else os.fstat(self._fd).st_mtime
        return self._late if time is None else time

    def _skip_to(self, base: int) -> list[Line]:
        """What was to come next is kept no more: say so, and go on with what is."""
        before = self._offset - len(self._rest)
        self._offset, self._rest = base, b""
        self._to_line_start()
        lost = self._offset - before
        time = self._time_of(self._offset)
        return [Line(f"[otter: {lost} bytes of this log were dropped before they were read]", time)]

    def _to_line_start(self) -> None:
        """Skip the rest of a line whose beginning is behind us."""
        if self._offset > 0 and os.pread(self._fd, 1, self._offset - 1) == b"\n":
            return
        while data := os.pread(self._fd, CHUNK, self._offset):
            if (at := data.find(b"\n")) >= 0:
                self._offset += at + 1
                return
            self._offset += len(data)

    # --- the file ----------------------------------------------------------------------------

    def _open(self) -> bool:
        if self._fd >= 0 and self._replaced():
            self.close()
            self._offset, self._rest = 0, b""
        if self._fd < 0:
            try:
                self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            except FileNotFoundError:
                return False
            if base := self._marks.kept_from():
                self._offset = base
                self._to_line_start()
        return True

    def _identity(self) -> tuple[int, int]:
        ours = os.fstat(self._fd)
        return ours.st_dev, ours.st_ino

    def _replaced(self) -> bool:
        """Whether another file has the name now. Deleted: no, until there is a new one."""
        try:
            there = os.stat(self._path)
        except FileNotFoundError:
            return False
        return (there.st_dev, there.st_ino) != self._identity()


def _nth_last(chunk: bytes, count: int) -> int:
    """Position of the `count`-th newline from the end."""
    position = len(chunk)
    for _ in range(count):
        position = chunk.rindex(b"\n", 0, position)
    return position


def _cut(line: bytes) -> list[bytes]:
    """Pieces of at most LINE_LIMIT bytes, none ending inside a UTF-8 character."""
    pieces = []
    while len(line) > LINE_LIMIT:
        end = LINE_LIMIT
        while end > LINE_LIMIT - 4 and line[end] & 0xC0 == 0x80:
            end -= 1
        pieces.append(line[:end])
        line = line[end:]
    return [*pieces, line]
