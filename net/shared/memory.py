"""Memory that two processes share: sealed memfds, mapped, lent in parts.

The sender maps a region to write, the receiver to read only. A region is sealed: it can't shrink,
so no peer can take pages away from under a mapping (that would be a SIGBUS), and, where the kernel
has `F_SEAL_FUTURE_WRITE` (5.1), nobody but its maker can write to it. The kernel frees it when both
processes have let go of it, however they end. Must not know: records, messages.
"""

from __future__ import annotations

import fcntl
import functools
import mmap
import os
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from net.errors import RemoteWireError

_FUTURE_WRITE = 0x0010
"""F_SEAL_FUTURE_WRITE, which Python's fcntl doesn't name. Source: linux/fcntl.h."""
_NEEDED = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
_COLLAPSE = 25
"""MADV_COLLAPSE, Linux 6.1, which Python's mmap doesn't name. Source: linux/mman.h."""
_HUGE = 2 * 2**20
_TRIES = 16
_PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
_MOST_FOREIGN = _HUGE // 16
"""Bytes of a huge page that may be somebody else's."""


def create(size: int) -> tuple[int, mmap.mmap]:
    """A new region: its descriptor, to pass on, and its memory, to write. All zeros, none touched.

    Raises:
        OSError: There isn't that much, or too many files are open.
    """
    fd = os.memfd_create("otter-stream", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, size)
        memory = _mapped(fd, size, mmap.PROT_READ | mmap.PROT_WRITE)
        _ask_for_huge_pages(memory)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _NEEDED)
        with suppress(OSError):
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _FUTURE_WRITE)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SEAL)
    except BaseException:
        os.close(fd)
        raise
    return fd, memory


def adopt(fd: int, size: int) -> mmap.mmap:
    """Map a region that a peer has passed, to read. Takes `fd`: closes it in any case.

    Raises:
        RemoteWireError: It is no sealed memory of that size.
    """
    try:
        seals, facts = fcntl.fcntl(fd, fcntl.F_GET_SEALS), os.fstat(fd)
        if seals & _NEEDED != _NEEDED or facts.st_size != size:
            raise RemoteWireError("a region that isn't sealed, or not as large as announced")
        if facts.st_dev != _device():
            raise RemoteWireError("a region that isn't ordinary memory")
        mapped = _mapped(fd, size, mmap.PROT_READ)
        _ask_for_huge_pages(mapped)
        return mapped
    except (OSError, ValueError, OverflowError) as exc:  # not a memfd at all; no memory to map it
        raise RemoteWireError(f"a region that can't be mapped: {exc}") from exc
    finally:
        os.close(fd)


@functools.cache
def _device() -> int:
    """Where memfds are. Those of reserved huge pages (MFD_HUGETLB) are elsewhere.

    A seal doesn't keep their maker from taking pages of them away; where none is left then to put
    in its place, reading it is a SIGBUS. Source: memfd_create(2); mm/hugetlbfs_reserv of Linux.
    """
    fd = os.memfd_create("otter-probe", os.MFD_CLOEXEC)
    try:
        return os.fstat(fd).st_dev
    finally:
        os.close(fd)


def _ask_for_huge_pages(memory: mmap.mmap) -> None:
    """Where the machine has them for shared memory: copying into small pages takes a third longer.

    Source: /sys/kernel/mm/transparent_hugepage/shmem_enabled, `advise`.
    """
    with suppress(OSError):
        memory.madvise(mmap.MADV_HUGEPAGE)


def _mapped(fd: int, size: int, protection: int) -> mmap.mmap:
    """A mapping that begins where a huge page may, if that can be had by asking again.

    Mappings lie below each other. One that is elsewhere stays until there is a better one, with
    a placeholder below it that brings the next to where it shall begin: as large as a mapping, so
    that it fits into no gap further up.
    """
    mapped = mmap.mmap(fd, size, prot=protection)
    others: list[mmap.mmap] = []
    with suppress(OSError):  # neither room nor descriptors for two: it is as good where it is
        while size >= _HUGE and len(others) < _TRIES and (beyond := address(mapped) % _HUGE):
            room = (beyond - size) % _HUGE + size + -size % _HUGE
            others.append(mmap.mmap(-1, room, _PRIVATE, mmap.PROT_READ))
            another = mmap.mmap(fd, size, prot=protection)
            others.append(mapped)
            mapped = another
    for other in others:
        other.close()
    return mapped


class HugePages:
    """Huge pages for parts of a mapping, when they are used first; small ones where there are none.

    They are had whatever the machine's settings for shared memory are, unless those say `deny`.
    Copying into small ones takes a third longer, and reading from them as well. Source:
    madvise(2), MADV_COLLAPSE.

    Args:
        mapped: From `create`; not kept.
    """

    def __init__(self, mapped: mmap.mmap) -> None:
        self._wanted = address(mapped) % _HUGE == 0
        self._asked: set[int] = set()

    def want(self, mapped: mmap.mmap, start: int, nbytes: int) -> None:
        """So many bytes are about to be written. Only what they fill (nearly) becomes huge."""
        if not self._wanted or nbytes < _HUGE:
            return
        first = (start - _MOST_FOREIGN + _HUGE - 1) // _HUGE
        last = min(start + nbytes + _MOST_FOREIGN, len(mapped)) // _HUGE
        for number in range(first, last):
            if number not in self._asked and self._wanted:
                self._asked.add(number)
                self._make(mapped, number * _HUGE, start)

    def _make(self, mapped: mmap.mmap, at: int, start: int) -> None:
        # Where no page has been touched, the kernel finds nothing to put together. What lies before
        # `start` is another array, which another thread may be filling right now.
        ours = max(at, start)
        mapped[ours] = mapped[ours]
        try:
            mapped.madvise(_COLLAPSE, at, _HUGE)
        except OSError:  # an older kernel, or none left: another one would only take time, too
            self._wanted = False


def address(memory: mmap.mmap | memoryview, start: int = 0) -> int:
    """Where a byte of it is."""
    found: int = np.frombuffer(memory, np.uint8, 1, start).__array_interface__["data"][0]
    return found


def unmap(mapped: mmap.mmap) -> None:
    """Let go of a mapping: at once, or with the last array that shows a part of it."""
    with suppress(BufferError):
        mapped.close()


class Lender:
    """Lends parts of mapped memory as arrays, and learns when the last view of one is gone.

    Args:
        gone: Called with the `ticket` of a part when nothing refers to it any more; in whatever
            thread dropped the last view.
    """

    def __init__(self, gone: Callable[[Any], None]) -> None:
        self._gone = gone
        # By the reference's id: an array has no hash, so a reference to one has none either.
        self._lent: dict[int, tuple[weakref.ref[NDArray[np.uint8]], Any]] = {}

    def lend(self, memory: mmap.mmap, start: int, nbytes: int, ticket: Any) -> NDArray[np.uint8]:
        """The bytes as a flat array; writable if the mapping is."""
        # It owns nothing and its base is no array. numpy therefore gives this very object as base
        # to each view of it and to each view of those, so its end is the end of them all.
        owner: NDArray[np.uint8] = np.frombuffer(memory, np.uint8, nbytes, start)
        reference = weakref.ref(owner, self._back)
        self._lent[id(reference)] = reference, ticket
        return owner

    def _back(self, reference: weakref.ref[NDArray[np.uint8]]) -> None:
        _, ticket = self._lent.pop(id(reference))
        self._gone(ticket)

    @property
    def lent(self) -> int:
        """Parts of which there are views."""
        return len(self._lent)
