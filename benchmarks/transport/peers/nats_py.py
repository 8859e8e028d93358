"""NATS: both ends are clients of one nats-server on loopback, which ends with the pair.

Nothing holds a sender back but its own socket, so every limit that would make the server or the
receiving client drop messages is raised.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nats

from benchmarks.row import NotHere
from benchmarks.transport.forms import from_bytes, to_bytes
from benchmarks.transport.peer import HERE, Channel, Place

MANY = 1 << 30


def broker(port: int, folder: Path) -> list[str]:
    """The command of the server.

    Raises:
        NotHere: There is none on this machine.
    """
    cache = Path(os.environ.get("OTTER_CACHE") or Path.home() / ".cache" / "otter")
    program = shutil.which("nats-server") or cache / "nats" / "usr" / "sbin" / "nats-server"
    if not Path(program).exists():
        raise NotHere("no nats-server: .ci/debian bench")
    config = folder / "nats.conf"
    config.write_text(f'listen: "{HERE}:{port}"\nmax_payload: 64MB\nmax_pending: {MANY}\n')
    return [str(program), "-c", str(config)]


@asynccontextmanager
async def listen(place: Place) -> AsyncIterator[Channel]:
    """Takes `there`, answers to `back`."""
    client = await _connect(place)
    try:
        channel = await _channel(client, place, send="back", receive="there")
        await _meet(client, "listening", "dialling")
        yield channel
    finally:
        await client.close()


@asynccontextmanager
async def dial(place: Place) -> AsyncIterator[Channel]:
    """Sends to `there`, hears `back`."""
    client = await _connect(place)
    try:
        channel = await _channel(client, place, send="there", receive="back")
        await _meet(client, "dialling", "listening")
        yield channel
    finally:
        await client.close()


async def _connect(place: Place) -> Any:
    return await nats.connect(f"nats://{HERE}:{place.ports[1]}", connect_timeout=20)


async def _channel(client: Any, place: Place, *, send: str, receive: str) -> Channel:
    """A callback and a queue: `next_msg` makes a task per message."""
    arrived: asyncio.Queue[Any] = asyncio.Queue()

    async def put(message: Any) -> None:
        arrived.put_nowait(message.data)

    limits = {"pending_msgs_limit": MANY, "pending_bytes_limit": MANY}
    await client.subscribe(receive, cb=put, **limits)
    make, unmake = from_bytes(place.task), to_bytes(place.task)
    return Channel(lambda value: client.publish(send, unmake(value)), arrived.get, make)


async def _meet(client: Any, here: str, there: str) -> None:
    """Call until the other end has been heard: what is published before that is lost."""
    heard = asyncio.Event()

    async def hear(_message: Any) -> None:
        heard.set()

    await client.subscribe(there, cb=hear)
    while not heard.is_set():
        await client.publish(here, b"")
        await client.flush()
        await asyncio.sleep(0.02)
    await client.publish(here, b"")
    await client.flush()
