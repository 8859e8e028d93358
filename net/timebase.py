"""The clock of a mesh on several machines, as modules read it: their machine's, set right.

    the agent ──every other second──► clock.json beside the wiring ──once a second──► MeshClock

The agent compares the machine's clock with that of the mesh's clock machine, and writes down by how
much it differs and how sure that is. All times of a module then are of one clock, wherever it runs.
A mesh on one machine has no such file, and modules read the machine's clock itself. Must not know:
how clocks are compared, asyncio's loops.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CLOCK_FILE = "clock.json"
DRIFT = 100e-6
"""How much two clocks that nobody compares may come apart, seconds per second: twice what the
crystals of ordinary computers do (50 ppm)."""
UNKNOWN_S = 1e6
"""An error of so much says: nobody knows by how much the clocks differ."""
LOOK_S = 1.0
"""How often the file is read."""
_FIRST_LOOKS_S = 0.01
_WITHIN_S = 2.0
"""How long a module waits at its start until its machine's clock was compared."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a machine's clock stands.

    Attributes:
        offset_s: To be added to it.
        error_s: By how much that may be wrong; None: it isn't known yet.
        at_s: When that was found, by the machine's own clock.
        peers: Module on another machine -> the same error of that machine's clock.
    """

    offset_s: float = 0.0
    error_s: float | None = 0.0
    at_s: float = 0.0
    peers: Mapping[str, float | None] = field(default_factory=dict)

    def error_of(self, peer: str, now_s: float) -> float:
        """How far the clocks of this machine and a peer's may be apart; 0 on one machine."""
        if peer not in self.peers:
            return 0.0
        there = self.peers[peer]
        if self.error_s is None or there is None:
            return UNKNOWN_S
        return self.error_s + there + 2 * DRIFT * abs(now_s - self.at_s)


ALONE = Standing()


def encode(standing: Standing) -> bytes:
    """The file's content."""
    said = {
        "offset_s": standing.offset_s,
        "error_s": standing.error_s,
        "at_s": standing.at_s,
        "peers": dict(standing.peers),
    }
    return json.dumps(said).encode()


def decode(data: bytes) -> Standing | None:
    """What the file says; None if it makes no sense."""
    try:
        said = json.loads(data)
        found = Standing(
            _number(said["offset_s"]),
            None if said["error_s"] is None else _number(said["error_s"]),
            _number(said["at_s"]),
            {str(k): None if v is None else _number(v) for k, v in said["peers"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return found


def _number(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(value)
    return number


class MeshClock:
    """Seconds since 1970, by the mesh's clock; call it.

    Args:
        path: Of the agent's file. One that isn't there when this is made: the machine's own clock
            is the mesh's, as far as this module goes.

    Attributes:
        corrects: Whether it adds anything to the machine's clock.
    """

    __slots__ = ("_looked_s", "_offset_s", "_path", "_standing", "_time", "corrects")

    def __init__(self, path: Path) -> None:
        self._path = path
        self._time = time.time
        self._standing = ALONE
        self._offset_s = 0.0
        self._looked_s = -math.inf
        self.corrects = path.exists()
        self._look(self._time())

    def __call__(self) -> float:
        """This moment."""
        now = self._time()
        if not 0.0 <= now - self._looked_s < LOOK_S:  # a clock may be set back
            self._look(now)
        return now + self._offset_s

    def _look(self, now: float) -> None:
        self._looked_s = now
        try:
            found = decode(self._path.read_bytes())
        except OSError:
            return  # the mesh is on one machine, or goes just now
        if found is not None:
            self._standing = found
            self._offset_s = found.offset_s if self.corrects else 0.0

    def error_of(self, peer: str) -> float:
        """How far a peer's times and ours may be apart, seconds; 0: it is on this machine."""
        now = self._time()
        if not 0.0 <= now - self._looked_s < LOOK_S:
            self._look(now)
        error = self._standing.error_of(peer, now)
        # A module that runs since before the mesh had other machines goes on by its own clock.
        return error if self.corrects or not error else error + abs(self._standing.offset_s)

    async def known(self, within_s: float = _WITHIN_S) -> None:
        """Return once the machine's clock was compared, or after a while without."""
        if not self.corrects:
            return
        for _ in range(math.ceil(within_s / _FIRST_LOOKS_S)):
            if self._standing.error_s is not None:
                return
            await asyncio.sleep(_FIRST_LOOKS_S)
            self._look(self._time())
