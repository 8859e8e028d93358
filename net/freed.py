"""Gives the system back what the C library keeps of freed memory.

Loading a model, and running it for the first time, leaves a hundred megabytes and more that are
free but stay the process's: glibc gives back the top of its heap only, and keeps one heap for each
thread. Source: malloc_trim(3). Must not know: who asks.
"""

from __future__ import annotations


def give_back() -> None:
    """All that is free, at once; some 10 ms per 100 MB. Nothing where the library can't (musl)."""
    try:
        import ctypes  # not loaded by who has nothing to give back

        ctypes.CDLL(None).malloc_trim(0)
    except (ImportError, OSError, AttributeError, TypeError):  # another C library, another system
        return
