"""What a module's streams are at, told to the agent: `streams.json` in the state folder.

Written whole, at most once a second, and only while something changes. Messages cost nothing
here: counters are looked at when it is time. Must not know: how messages travel, what is counted.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from net.records import say, write_whole

STREAMS_FILE = "streams.json"
EVERY_S = 1.0
IDLE_EVERY_S = 10.0
"""How often is looked at streams that were idle. (A module's next message ends that at once.)"""
FORMAT = 1


class Reporter:
    """Keeps the file current. Idle until `wake`, and again once nothing changes any more.

    Args:
        folder: The state folder; None: nothing is written.
        collect: What is to be told.
        clock: Seconds since 1970.

    Attributes:
        asleep: Whether nothing has changed lately, so that `wake` has to be called on use.
    """

    def __init__(
        self,
        folder: Path | None,
        collect: Callable[[], dict[str, Any]],
        clock: Callable[[], float],
    ) -> None:
        self._path = None if folder is None else folder / STREAMS_FILE
        self._collect = collect
        self._clock = clock
        self._told: dict[str, Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._looked_at = 0.0
        self.asleep = self._path is not None

    def wake(self) -> None:
        """Something is going to change."""
        if self._path is None or not self.asleep:
            return
        self.asleep = False
        self._look_again(EVERY_S - (asyncio.get_running_loop().time() - self._looked_at))

    def start(self) -> None:
        """Tell what there is now, and go on. Needs a running loop."""
        if self._path is not None:
            self._look()

    def _look_again(self, after_s: float) -> None:
        self._stop_timer()
        self._timer = asyncio.get_running_loop().call_later(max(0.0, after_s), self._look)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._looked_at = asyncio.get_running_loop().time()
        self.asleep = not self.tell()
        if self._path is not None:
            self._look_again(IDLE_EVERY_S if self.asleep else EVERY_S)

    def tell(self) -> bool:
        """Write what has changed; whether anything has."""
        found = self._collect()
        if self._path is None or found == self._told:
            return False
        self._told = found
        told = {"format": FORMAT, "time": self._clock(), **found}
        try:
            write_whole(self._path, json.dumps(told, separators=(",", ":")).encode())
        except OSError as exc:
            say(f"streams are no longer reported: can't write {self._path}: {exc.strerror or exc}")
            self._path, self.asleep = None, False
        return True

    def close(self) -> None:
        """Tell what there was at last. Idempotent."""
        self._stop_timer()
        self.tell()
        self._path, self.asleep = None, False
