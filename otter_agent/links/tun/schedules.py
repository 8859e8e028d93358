"""Opportunities of traces, for agent and helper: files that are mapped, so that none is copied.

Must not know: links, what opportunities are for.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Collection
from pathlib import Path

from net.links.delivery import Schedule
from net.links.traces import codec
from otter_agent.errors import NetworkError


class Schedules:
    """Those that the helper has, by digest."""

    def __init__(self) -> None:
        self._known: dict[str, Schedule] = {}

    def __len__(self) -> int:
        """How many they are."""
        return len(self._known)

    def __getitem__(self, digest: str) -> Schedule:
        """Raises `KeyError`: it was never given."""
        return self._known[digest]

    def add(self, digest: str, descriptor: int) -> None:
        """Have one; takes the descriptor.

        Raises:
            ValueError: It isn't a trace with opportunities.
        """
        try:
            if digest not in self._known:
                self._known[digest] = _mapped(descriptor)
        finally:
            os.close(descriptor)

    def keep(self, digests: Collection[str]) -> None:
        """Forget all others."""
        self._known = {name: one for name, one in self._known.items() if name in digests}


def opened(folder: Path, digest: str) -> int:
    """A descriptor of a trace's file, of which it is certain that `Schedules.add` takes it.

    Raises:
        NetworkError: It isn't there, or is none.
    """
    try:
        descriptor = os.open(folder / digest, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as exc:
        raise NetworkError("tun", "open the trace", digest[:12], str(exc.strerror)) from exc
    try:
        _mapped(descriptor)
    except (OSError, ValueError) as exc:
        os.close(descriptor)
        raise NetworkError("tun", "read the trace", digest[:12], str(exc)) from exc
    return descriptor


def _mapped(descriptor: int) -> Schedule:
    # The map lives as long as what looks into it.
    return codec.schedule(mmap.mmap(descriptor, 0, prot=mmap.PROT_READ))
