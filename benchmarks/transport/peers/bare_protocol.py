"""The least that a loop can do: a `BufferedProtocol` at both ends that writes from its callback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import perf_counter as clock
from typing import Any

from benchmarks.transport.peer import HERE, Channel, Place


class Answering(asyncio.BufferedProtocol):
    """Sends back what arrives, whoever takes turns."""

    def __init__(self, size: int) -> None:
        self._memory = memoryview(bytearray(size))
        self._got = 0
        self.connected: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        """The other end is there."""
        self._write = transport.write
        self.connected.set_result(None)

    def get_buffer(self, sizehint: int) -> memoryview:
        """What is left of the message."""
        return self._memory[self._got :]

    def buffer_updated(self, nbytes: int) -> None:
        """Some of it has arrived."""
        self._got += nbytes
        if self._got == len(self._memory):
            self._got = 0
            self.whole()

    def whole(self) -> None:
        """All of it has."""
        self._write(bytes(self._memory))


class Asking(Answering):
    """Asks again as soon as the answer is there."""

    def __init__(self, value: bytes) -> None:
        super().__init__(len(value))
        self._value = value
        self._left = 0
        self._samples: list[float] = []
        self._begin = 0.0

    async def ask_all(self, count: int) -> list[float]:
        """So many round trips; the seconds of each."""
        self._left, self._samples = count, []
        self._finished = asyncio.get_running_loop().create_future()
        self._begin = clock()
        self._write(self._value)
        await self._finished
        return self._samples

    def whole(self) -> None:
        """One more is over."""
        now = clock()
        self._samples.append(now - self._begin)
        self._left -= 1
        if self._left:
            self._begin = clock()
            self._write(self._value)
        elif self._memory != self._value:
            self._finished.set_exception(RuntimeError("what arrived is not what was sent"))
        else:
            self._finished.set_result(None)


@asynccontextmanager
async def listen(place: Place) -> AsyncIterator[Channel]:
    """Answer one connection."""
    loop = asyncio.get_running_loop()
    answering = Answering(len(place.task.make()))
    server = await loop.create_server(lambda: answering, HERE, place.ports[0])
    await answering.connected
    server.close()
    yield Channel(_cannot, _cannot, answer_all=_nothing)


@asynccontextmanager
async def dial(place: Place) -> AsyncIterator[Channel]:
    """Connect as soon as there is somebody."""
    loop = asyncio.get_running_loop()
    asking = Asking(place.task.make())
    while not asking.connected.done():
        try:
            await loop.create_connection(lambda: asking, HERE, place.ports[0])
        except ConnectionRefusedError:
            await asyncio.sleep(0.02)
    yield Channel(_cannot, _cannot, ask_all=asking.ask_all)


async def _nothing(count: int) -> None:
    """The callbacks answer."""


async def _cannot(*_: Any) -> None:
    raise RuntimeError("it has no messages")
