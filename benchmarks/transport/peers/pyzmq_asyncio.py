"""pyzmq in a loop: the sockets of `pyzmq_blocking`, from `zmq.asyncio`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from zmq import asyncio as loop_zmq

from benchmarks.transport.peer import HERE, Channel, Place
from benchmarks.transport.peers.pyzmq_blocking import channel, kinds


@asynccontextmanager
async def listen(place: Place) -> AsyncIterator[Channel]:
    """Bind."""
    with loop_zmq.Context() as context, context.socket(kinds(place)[0]) as socket:
        socket.bind(f"tcp://{HERE}:{place.ports[0]}")
        yield channel(place, socket)


@asynccontextmanager
async def dial(place: Place) -> AsyncIterator[Channel]:
    """Connect; the library tries until the other end is there."""
    with loop_zmq.Context() as context, context.socket(kinds(place)[1]) as socket:
        socket.connect(f"tcp://{HERE}:{place.ports[0]}")
        yield channel(place, socket)
