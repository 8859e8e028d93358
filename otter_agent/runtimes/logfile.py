"""Reading a log that a module is writing: its last lines, and what comes after. Blocking, bounded.

Follows by looking at the size: a file that nobody writes costs one `fstat` per look. Must not
know: modules, asyncio.
"""

from __future__ import annotations

import os
from pathlib import Path

CHUNK = 64 * 1024
LINE_LIMIT = 64 * 1024
"""Bytes; a longer line is cut into several, between characters."""


class LogFile:
    """One reader of a log. A file that isn't there yet is empty; one made anew is read anew."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1
        self._offset = 0
        self._rest = b""

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

    def seek_tail(self, lines: int) -> None:
        """Go to the start of the last `lines` lines."""
        if not self._open():
            return
        position = os.fstat(self._fd).st_size
        wanted = lines + 1  # the newline before the first of them
        ends_open = position > 0 and os.pread(self._fd, 1, position - 1) != b"\n"
        wanted -= ends_open
        while position > 0 and wanted > 0:
            start = max(0, position - CHUNK)
            chunk = os.pread(self._fd, position - start, start)
            found = chunk.count(b"\n")
            if found >= wanted:
                position = start + _nth_last(chunk, wanted) + 1
                break
            wanted -= found
            position = start
        self._offset = position

    def read(self) -> list[str]:
        """Complete lines of the next chunk; empty if there is nothing new."""
        if not self._open():
            return []
        if os.fstat(self._fd).st_size < self._offset:  # truncated
            self._offset, self._rest = 0, b""
        data = os.pread(self._fd, CHUNK, self._offset)
        self._offset += len(data)
        *whole, self._rest = (self._rest + data).split(b"\n")
        lines = [piece for line in whole for piece in _cut(line)]
        if len(self._rest) > LINE_LIMIT:
            *full, self._rest = _cut(self._rest)
            lines += full
        return [line.decode(errors="replace") for line in lines]

    def flush(self) -> list[str]:
        """The last line, if it has no newline."""
        rest, self._rest = self._rest, b""
        return [rest.decode(errors="replace")] if rest else []

    def _open(self) -> bool:
        if self._fd >= 0 and self._replaced():
            self.close()
            self._offset, self._rest = 0, b""
        if self._fd < 0:
            try:
                self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            except FileNotFoundError:
                return False
        return True

    def _replaced(self) -> bool:
        """Whether another file has the name now. Deleted: no, until there is a new one."""
        try:
            there = os.stat(self._path)
        except FileNotFoundError:
            return False
        ours = os.fstat(self._fd)
        return (there.st_ino, there.st_dev) != (ours.st_ino, ours.st_dev)


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
