"""Turns of a GPU that several modules share: `net.lease()`.

    with net.lease():                 # one at a time, by the modules' shares
        loss = step(batch)

    async with net.lease():           # the same for code that awaits
        ...

A module whose topology gives it a share (`gpu = { share = "75%" }`) gets its turns from the
agent's arbiter; where there is none, a lease is granted at once, so the same code runs anywhere: a
module that OTTER runs says so in its log, once.
What is shared is time: what was started on a GPU has to end inside (`torch.cuda.synchronize()`).
Between two turns pass some 10 us; where they change hands, some 100 us.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from types import TracebackType

from net import asking
from net.asking import Link
from net.rubbish import to_the_log

_SOCKET = "turns.sock"
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.005, 0.2
_log = logging.getLogger("net.leases")
_said: set[str] = set()
"""Where it was said that nobody gives turns."""


class Lease:
    """One turn at a time of a thing that modules share; use it again and again.

    Args:
        thing: Its name: what modules that share the same GPU call it. At most 32 printable ASCII
            characters.
        path: Of the arbiter's socket; None: this module's own.

    Attributes:
        shared: Whether the last turn was the arbiter's: False where nothing is shared.
        waited_s: How long was waited for it.
        revoked: Turns that were taken away, as they lasted over 10 s while others waited.
    """

    def __init__(self, thing: str = "gpu", path: str | None = None) -> None:
        self._thing = thing.encode("ascii", "replace")
        if not thing.isprintable() or not 0 < len(self._thing) <= 32:
            raise ValueError(f"lease of {thing!r}: 1 to 32 printable characters")
        self._path = _own() if path is None else path
        self._says = path is None and bool(self._path)
        self._link: Link | None = None
        self.shared = False
        self.waited_s = 0.0
        self.revoked = 0

    def __enter__(self) -> Lease:
        began, pause = time.monotonic(), _FIRST_PAUSE_S
        while not self._is_free():
            link = self._begun()
            if link is not None:
                try:
                    if link.has or link.granted():
                        break
                except BaseException:  # a signal's: the request goes with its connection
                    self._lost(link)
                    raise
                self._lost(link)
            time.sleep(pause)  # the arbiter comes back, or takes its socket away
            pause = min(2 * pause, _LONGEST_PAUSE_S)
        self.waited_s = time.monotonic() - began
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        link, self._link = self._link, None
        if link is None:
            return
        there = link.end()
        self._count(link)
        if there:
            asking.keep(link)
        else:  # the arbiter has gone, and all turns with it; or this turn was taken away
            link.close()

    async def __aenter__(self) -> Lease:
        began, pause = time.monotonic(), _FIRST_PAUSE_S
        while not self._is_free():
            link = self._begun()
            if link is not None:
                try:
                    if link.has or await link.granted_later():
                        break
                except BaseException:  # cancelled: the request goes with its connection
                    self._lost(link)
                    raise
                self._lost(link)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)
        self.waited_s = time.monotonic() - began
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.__exit__(kind, exc, tb)

    def _is_free(self) -> bool:
        """Whether nothing is shared here."""
        if self._link is not None:
            raise RuntimeError("this lease is held already: another task needs one of its own")
        path = self._path
        self.shared = bool(path) and (asking.is_used(path) or os.path.exists(path))
        if not self.shared and self._says and path not in _said:
            _said.add(path)
            to_the_log("nobody gives turns to this module: each is granted at once")
        return not self.shared

    def _begun(self) -> Link | None:
        """A connection that has its turn still, or has asked; None: nobody answers now."""
        while (link := asking.link(self._path, self._thing)) is not None:
            if link.begin(self._thing):
                self._link = link
                return link
            self._count(link)  # one from before the arbiter ended, or whose last turn it took away
            link.close()
        return None

    def _count(self, link: Link) -> None:
        if link.revoked:
            self.revoked += 1
            _log.warning("a turn of over 10 s was taken away: others went on beside it")

    def _lost(self, link: Link) -> None:
        self._link = None
        link.close()


def lease(thing: str = "gpu") -> Lease:
    """A turn of what modules share; see `Lease`."""
    return Lease(thing)


def _own() -> str:
    wiring = os.environ.get("OTTER_WIRING", "")
    return os.path.join(os.path.dirname(wiring), _SOCKET) if wiring else ""
