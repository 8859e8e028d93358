"""Tells of files that were written whole into a folder, at once, where the kernel does (inotify).

A file counts when whoever wrote it has closed it, and when it was moved there. Not all file systems
tell (a network's knows nothing of what others do there), so this is beside looking, never instead.
Source: inotify(7). Must not know: what is in the files.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import struct
from pathlib import Path
from types import TracebackType

_CLOSED, _MOVED_HERE = 0x8, 0x80
"""IN_CLOSE_WRITE and IN_MOVED_TO: linux/inotify.h."""
_EVENT = struct.Struct("iIII")
"""… watch, mask, cookie, and how long the name is that follows."""
_ROOM_BYTES = 1 << 16


class Written:
    """Watches a folder; used with `with`, in a running loop. Where it can't, it tells nothing.

    Args:
        folder: That is there already; no folder below it counts.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._watch = -1
        self._names: set[str] = set()
        self._told = asyncio.Event()

    def __enter__(self) -> Written:
        # AttributeError: a C library without it, as on another system than Linux.
        with contextlib.suppress(OSError, AttributeError):
            self._watch = _watch(self._folder)
            asyncio.get_running_loop().add_reader(self._watch, self._read)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._watch >= 0:
            asyncio.get_running_loop().remove_reader(self._watch)
            os.close(self._watch)

    async def within(self, seconds: float) -> set[str]:
        """Names of those that were written since it was asked last; waits so long for the first."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._told.wait()
        self._told.clear()
        names, self._names = self._names, set()
        return names

    def _read(self) -> None:
        try:
            data = os.read(self._watch, _ROOM_BYTES)
        except BlockingIOError:
            return
        self._names |= _names(data)
        if self._names:
            self._told.set()


def _names(data: bytes) -> set[str]:
    """Of the files that events are about."""
    found, at = set(), 0
    while at < len(data):
        *_, length = _EVENT.unpack_from(data, at)
        at += _EVENT.size
        found.add(os.fsdecode(data[at : at + length].rstrip(b"\0")))
        at += length
    return found - {""}  # more happened than there was room for: looking finds it


def _watch(folder: Path) -> int:
    """A descriptor that events of a folder can be read from.

    Raises:
        OSError: None can be had.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    watch = int(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
    if watch < 0:
        raise OSError(ctypes.get_errno(), "inotify")
    if libc.inotify_add_watch(watch, os.fsencode(folder), _CLOSED | _MOVED_HERE) < 0:
        os.close(watch)
        raise OSError(ctypes.get_errno(), "inotify")
    return watch
