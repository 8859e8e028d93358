"""`bench`: round trips and throughput, size by size."""

from __future__ import annotations

import argparse
import asyncio
import json
from time import perf_counter as clock

import numpy as np

from net.cli import shown
from net.cli.asking import TRIES, Session, asking
from net.errors import TransportError

WARM, TRIPS, TRIPS_S = 5, 200, 0.5
"""Round trips that don't count, most that do, and after how many seconds there are no more."""
HEADINGS = f"{'size':>10}  {'median ms':>10}  {'p99 ms':>10}  {'messages/s':>10}  {'MB/s':>10}"


class Work:
    """One `bench`."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self._asked = asked
        self._figures: list[dict[str, float]] = []

    async def run(self) -> None:
        """A line per size."""
        asked = self._asked
        async with asking(asked.target, asked.wait, udp=asked.udp) as session:
            tries = TRIES if asked.udp else 1
            for size in asked.sizes:
                payload = np.zeros(size, np.uint8)
                trips = await _trips(session, payload, asked.wait, tries)
                rate, count = await _throughput(session, payload, asked.seconds, asked.wait)
                self._add(size, shown.spread(trips), rate, count, len(trips))

    def _add(
        self, size: int, spread: dict[str, float], rate: float, count: int, trips: int
    ) -> None:
        figures = {
            "size_bytes": size,
            "round_trip_median_s": spread["median_s"],
            "round_trip_p99_s": spread["p99_s"],
            "round_trips": trips,
            "messages_per_s": rate,
            "bytes_per_s": rate * size,
            "messages": count,
        }
        if not self._asked.json:
            if not self._figures:
                print(HEADINGS)
            median, p99 = (shown.milliseconds(spread[key]) for key in ("median_s", "p99_s"))
            cells = (shown.size(size), median, p99, f"{rate:.1f}", f"{rate * size / 1e6:.1f}")
            print("  ".join(f"{cell:>10}" for cell in cells), flush=True)
        self._figures.append(figures)

    def summary(self, *, interrupted: bool) -> int:
        """The document, if asked for."""
        if self._asked.json:
            target = ":".join(map(str, self._asked.target))
            print(json.dumps({"target": target, "sizes": self._figures}))
        return int(interrupted)


Payload = np.ndarray[tuple[int], np.dtype[np.uint8]]


async def _trips(session: Session, payload: Payload, wait_s: float, tries: int) -> list[float]:
    """Seconds of each that was answered.

    Args:
        session: With the echo.
        payload: What goes there and back.
        wait_s: For an answer, all tries together; longer if answers were slow before.
        tries: So many messages in a row have to be lost until nobody answers.

    Raises:
        TransportError: Nobody answers.
    """
    samples: list[float] = []
    lost = 0
    start = clock()
    while len(samples) < WARM + TRIPS and (clock() - start < TRIPS_S or len(samples) <= WARM):
        begin = clock()
        usual_s = max(samples, default=0.0)
        try:
            async with asyncio.timeout(max(wait_s / tries, min(wait_s, 4 * usual_s))):
                await session.ask(payload)
        except TimeoutError:
            lost += 1
            if lost < tries:
                continue
            raise TransportError(f"no answer to {len(payload)} bytes within {wait_s:g} s") from None
        lost = 0
        samples.append(clock() - begin)
    return samples[WARM:]


async def _throughput(
    session: Session, payload: Payload, seconds: float, wait_s: float
) -> tuple[float, int]:
    """Messages per second until all had arrived, and how many did."""
    await session.send({"net": "swallow"})
    begin = clock()
    count = 0
    while count == 0 or clock() - begin < seconds:
        await session.send(payload)
        count += 1
    try:
        answer = await session.insist({"net": "end"}, seconds + wait_s)
    except TimeoutError:
        raise TransportError(f"no answer after {count} messages") from None
    arrived = int(answer.value["messages"])
    return arrived / (clock() - begin), arrived
