"""Sends: datagrams by a schedule, or TCP flows, to one sink each."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from counts import HEAD, IP_UDP_BYTES, MARK  # type: ignore[import-not-found]
from recorded import packets  # type: ignore[import-not-found]
from schedules import constant, on_off, poisson, replay  # type: ignore[import-not-found]
from settings import Settings  # type: ignore[import-not-found]

RETRY_S = 0.5
BEHIND_S = 0.25
"""So late a sender gives up what it should have sent meanwhile, rather than send it all at once."""
_AT_ONCE = 64
_CHUNK = bytes(1 << 16)


def schedule(settings: Settings, seed: int) -> Iterator[tuple[float, int]]:
    """When to send how many bytes.

    Raises:
        ValueError: What is to be replayed can't be read.
    """
    rate, size = settings.rate_bps, settings.size
    if settings.kind == "poisson":
        return poisson(rate, size, seed)  # type: ignore[no-any-return]
    if settings.kind == "on-off":
        return on_off(rate, size, settings.on_s, settings.off_s, seed)  # type: ignore[no-any-return]
    if settings.kind == "replay":
        try:
            recorded = packets(Path(settings.file).read_bytes())
        except (OSError, ValueError) as error:
            raise ValueError(f"{settings.file}: {error}") from error
        return replay(recorded, settings.speed, loop=settings.loop)  # type: ignore[no-any-return]
    return constant(rate, size)  # type: ignore[no-any-return]


async def address(name: str, port: int, kind: socket.SocketKind) -> Any:
    """Where a sink is; waits until the name is known."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            found = await loop.getaddrinfo(name, port, family=socket.AF_INET, type=kind)
            return found[0][4]
        except OSError:
            await asyncio.sleep(RETRY_S)


class Datagrams:
    """Datagrams to one sink.

    Args:
        to: The sink's name.
        settings: What is asked for.
        seed: Of this sink's schedule.
    """

    def __init__(self, to: str, settings: Settings, seed: int) -> None:
        self._to, self._settings = to, settings
        self._schedule = schedule(settings, seed)
        self._run = int.from_bytes(os.urandom(4), "big")
        self._packets = self._bytes = self._unsent = 0
        self._skipped_s = 0.0
        self._began = self._until = 0.0

    async def run(self) -> None:
        """Send until the schedule or the time ends."""
        target = await address(self._to, self._settings.port, socket.SOCK_DGRAM)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
            made.setblocking(False)
            made.connect(target)
            await self._send_all(made)

    async def _send_all(self, made: socket.socket) -> None:
        start = self._began = self._until = time.monotonic()
        end = start + self._settings.for_s if self._settings.for_s else float("inf")
        for turn, (at, size) in enumerate(self._schedule):
            now = self._until = time.monotonic()
            wait = start + at - now
            if start + at >= end:
                await asyncio.sleep(max(0.0, end - now))
                return
            if wait > 0:
                await asyncio.sleep(wait)
            elif turn % _AT_ONCE == 0:
                await asyncio.sleep(0)
            if wait < -BEHIND_S:
                self._skipped_s -= wait
                start -= wait
            self._send(made, size)

    def _send(self, made: socket.socket, size: int) -> None:
        number = self._packets + self._unsent
        head = HEAD.pack(MARK, self._run, number, time.time_ns())
        body = bytes(max(0, size - IP_UDP_BYTES - len(head)))
        try:
            made.send(head + body)
        except OSError:  # no room, or nobody listens (yet)
            self._unsent += 1
            return
        self._packets += 1
        self._bytes += IP_UDP_BYTES + len(head) + len(body)

    def report(self) -> dict[str, Any]:
        """As it goes into the file."""
        took = self._until - self._began
        return {
            "packets": self._packets,
            "bytes": self._bytes,
            "unsent": self._unsent,
            "skipped_s": self._skipped_s,
            "rate_bps": self._bytes * 8 / took if took > 0 else 0.0,
        }


class Flows:
    """TCP flows to one sink: each as fast as it can, or all together at a rate."""

    def __init__(self, to: str, settings: Settings) -> None:
        self._to, self._settings = to, settings
        self._bytes = self._connects = 0
        self._began = time.monotonic()

    async def run(self) -> None:
        """Send until the time ends."""
        try:
            async with asyncio.timeout(self._settings.for_s or None):
                async with asyncio.TaskGroup() as group:
                    for number in range(self._settings.flows):
                        group.create_task(self._flow(), name=f"flow {number}")
        except TimeoutError:
            return

    async def _flow(self) -> None:
        while True:
            target = await address(self._to, self._settings.port, socket.SOCK_STREAM)
            try:
                _, writer = await asyncio.open_connection(*target)
            except OSError:
                await asyncio.sleep(RETRY_S)
                continue
            self._connects += 1
            try:
                await self._push(writer)
            except OSError:
                await asyncio.sleep(RETRY_S)  # it broke: another one
            finally:
                writer.transport.abort()

    async def _push(self, writer: asyncio.StreamWriter) -> None:
        rate = self._settings.rate_bps / self._settings.flows
        chunk = _CHUNK if not rate else _CHUNK[: max(1, min(len(_CHUNK), int(rate / 8 / 50)))]
        due = time.monotonic()
        for _ in itertools.count():
            writer.write(chunk)
            await writer.drain()
            self._bytes += len(chunk)
            if rate:
                now = time.monotonic()
                due = max(due + len(chunk) * 8 / rate, now - BEHIND_S)
                await asyncio.sleep(max(0.0, due - now))

    def report(self) -> dict[str, Any]:
        """As it goes into the file; bytes are those handed to TCP."""
        took = time.monotonic() - self._began
        return {
            "bytes": self._bytes,
            "connects": self._connects,
            "rate_bps": self._bytes * 8 / took if took > 0 else 0.0,
        }
