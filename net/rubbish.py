"""What peers said that makes no sense: counted, and told with peer and reason.

Each peer is told of once a minute, and so are only so many peers: whoever makes addresses up shall
fill nobody's log. Must not know: sockets, asyncio, what may be said.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

TELL_EVERY_S = 60.0
"""How often the same peer is told of."""
MOST_TOLD = 32
"""Peers that are told of in that time."""
_MOST_CHARACTERS = 300


def to_the_log(line: str) -> None:
    """One line to the module's log. One that takes none, on a full disk, stops no stream."""
    with suppress(OSError, ValueError):
        print(f"otter: {line}", file=sys.stderr, flush=True)


class Rubbish:
    """What came to one receiving end and was refused.

    Args:
        transport: How it came: `tcp`, `udp` or `shm`.
        clock: Seconds, that don't step.
        tell: Who hears of it.

    Attributes:
        count: How often.
        peer: Who it was the last time.
        reason: And why.
    """

    def __init__(
        self,
        transport: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        tell: Callable[[str], None] = to_the_log,
    ) -> None:
        self.transport = transport
        self.count = 0
        self.peer = self.reason = ""
        self._clock, self._tell = clock, tell
        self._told: dict[str, float] = {}  # the oldest first
        self._untold = 0

    def came(self, peer: str, reason: object, *, at: str = "") -> None:
        """Something was refused.

        Args:
            peer: Whose it was: an address, or what stands for one.
            reason: Why; one line. The peer may have had a say in it.
            at: What it came to, for people; empty: what is known is in the reason.
        """
        self.count += 1
        self.peer, self.reason = peer, _printable(str(reason))
        now = self._clock()
        while self._told and now - (first := next(iter(self._told.items())))[1] >= TELL_EVERY_S:
            del self._told[first[0]]
        if peer in self._told or len(self._told) >= MOST_TOLD:
            self._untold += 1
            return
        self._told[peer] = now
        before = f" ({self._untold} before it were not told)" if self._untold else ""
        self._untold = 0
        where = f" at {at}" if at else ""
        self._tell(f"{self.transport}{where}: refused {peer or 'a peer'}: {self.reason}{before}")

    def summary(self) -> dict[str, Any]:
        """As JSON can say it."""
        return {
            "transport": self.transport,
            "refused": self.count,
            "peer": self.peer,
            "reason": self.reason,
        }


def _printable(text: str) -> str:
    """Peers name streams and inputs: no line of theirs may look like one of ours."""
    text = text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…"
    return "".join(c if c.isprintable() else "?" for c in text)
