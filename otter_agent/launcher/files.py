"""System calls on files that Python lacks: being told of a change, and holes. Raises `OSError`."""

from __future__ import annotations

import ctypes
import os

_IN_MODIFY, _IN_ONESHOT = 0x2, 0x80000000
_FALLOC_FL_KEEP_SIZE, _FALLOC_FL_PUNCH_HOLE = 1, 2

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return result


def inotify_open() -> int:
    """A descriptor that tells of changes; it never blocks.

    Source: the man page inotify(7).
    """
    return _checked(_libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK), "inotify")


def inotify_once(fd: int, path: str) -> int:
    """Ask to be told of the next write to a file, once; returns the number of this watch."""
    mask = ctypes.c_uint32(_IN_MODIFY | _IN_ONESHOT)
    return _checked(_libc.inotify_add_watch(fd, os.fsencode(path), mask), path)


def inotify_forget(fd: int, watch: int) -> None:
    """Don't tell; one that has fired is forgotten already."""
    _libc.inotify_rm_watch(fd, watch)


def punch_hole(fd: int, start: int, length: int) -> None:
    """Give the room of a part of a file back; it reads as zeros, and the file's size stays.

    Source: the man page fallocate(2).
    """
    mode = _FALLOC_FL_KEEP_SIZE | _FALLOC_FL_PUNCH_HOLE
    span = (ctypes.c_int64(start), ctypes.c_int64(length))
    _checked(_libc.fallocate(fd, mode, *span), "fallocate")
