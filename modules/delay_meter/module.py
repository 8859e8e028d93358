"""Tells once a second how old the messages are that reach its input `picture`.

outputs/delay.csv has every message. It ends when all senders have ended.
"""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

import net


class Meter:
    """Gathers delays, and gives a line for each second.

    Args:
        file: Takes a line per message.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._start: float | None = None
        self._second = 0
        self._delays_ms: list[float] = []
        file.write("time_s,delay_ms\n")

    def add(self, made: float, received: float) -> str:
        """A message; returns the line about the second that is over, or nothing."""
        if self._start is None:
            self._start = made
        since, delay_ms = received - self._start, (received - made) * 1000
        self._file.write(f"{since:.3f},{delay_ms:.1f}\n")
        line = self.line() if int(since) != self._second else ""
        self._second = int(since)
        self._delays_ms.append(delay_ms)
        return line

    def line(self) -> str:
        """What came in the second so far; nothing if nothing did."""
        delays, self._delays_ms = self._delays_ms, []
        if not delays:
            return ""
        mean, bar = sum(delays) / len(delays), "#" * min(60, round(max(delays) / 10))
        return f"{self._second:4} s: {len(delays):3} pictures, {mean:6.1f} ms {bar}"


async def main(mesh: net.Mesh) -> None:
    """Measure what comes in."""
    path: Path = mesh.work / "outputs" / "delay.csv"
    path.parent.mkdir(exist_ok=True)
    with path.open("w", buffering=1) as file:
        meter = Meter(file)
        await mesh.ready()
        async for message in mesh.input("picture"):
            if line := meter.add(message.made, message.received):
                print(line)
        print(meter.line())


if __name__ == "__main__":
    net.run(main)
