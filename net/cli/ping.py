"""`ping`: round trips, one after the other."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
from time import perf_counter as clock

from net.cli import shown
from net.cli.asking import Session, asking


class Work:
    """One `ping`."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self._asked = asked
        self._name = ":".join(map(str, asked.target))
        self._sent = 0
        self._samples: list[float] = []

    async def run(self) -> None:
        """Until Ctrl-C, or all were sent."""
        asked = self._asked
        async with asking(asked.target, asked.wait, udp=asked.udp) as session:
            payload = bytes(asked.size)
            for number in itertools.count(1):
                begin = clock()
                await self._one(session, payload, number)
                if number == asked.count:
                    return
                await asyncio.sleep(max(0.0, begin + asked.interval - clock()))

    async def _one(self, session: Session, payload: bytes, number: int) -> None:
        self._sent += 1
        begin = clock()
        try:
            async with asyncio.timeout(self._asked.wait):
                await session.ask(payload)
        except TimeoutError:
            self._say(f"no answer from {self._name} within {self._asked.wait:g} s: seq={number}")
            await session.greet()
            return
        took = clock() - begin
        self._samples.append(took)
        size = len(payload)
        self._say(
            f"{size} bytes from {self._name}: seq={number} time={shown.milliseconds(took)} ms"
        )

    def _say(self, line: str) -> None:
        if not self._asked.quiet and not self._asked.json:
            print(line, flush=True)

    def summary(self, *, interrupted: bool) -> int:
        """As ping(8): 0 if anything was answered."""
        if self._asked.json:
            print(json.dumps(self._document()))
        elif self._sent:
            print(f"--- {self._name}: {self._sent} sent, {len(self._samples)} answered")
            if self._samples:
                figures = shown.spread(self._samples).values()
                listed = "/".join(map(shown.milliseconds, figures))
                print(f"round trip min/median/p99/max = {listed} ms")
        return int(not self._samples)

    def _document(self) -> dict[str, object]:
        return {
            "target": self._name,
            "size_bytes": self._asked.size,
            "sent": self._sent,
            "answered": len(self._samples),
            **(shown.spread(self._samples) if self._samples else {}),
            "times_s": self._samples,
        }
