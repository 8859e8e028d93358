"""gRPC in a loop: one call that streams both ways and stays open, bytes as they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from benchmarks.transport.forms import from_bytes, to_bytes
from benchmarks.transport.peer import HERE, Channel, Place

SIZES = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


@asynccontextmanager
async def listen(place: Place) -> AsyncIterator[Channel]:
    """The server: its end of the first call that comes."""
    loop = asyncio.get_running_loop()
    called: asyncio.Future[Any] = loop.create_future()

    async def call(_requests: Any, context: Any) -> None:
        called.set_result(context)
        await loop.create_future()

    server = grpc.aio.server(options=SIZES)
    handler = grpc.stream_stream_rpc_method_handler(call)
    handlers = grpc.method_handlers_generic_handler("otter", {"exchange": handler})
    server.add_generic_rpc_handlers((handlers,))
    server.add_insecure_port(f"{HERE}:{place.ports[0]}")
    await server.start()
    try:
        yield _channel(place, await called)
    finally:
        await server.stop(None)


@asynccontextmanager
async def dial(place: Place) -> AsyncIterator[Channel]:
    """The client: its end of the call."""
    async with grpc.aio.insecure_channel(f"{HERE}:{place.ports[0]}", options=SIZES) as channel:
        yield _channel(place, channel.stream_stream("/otter/exchange")(wait_for_ready=True))


def _channel(place: Place, call: Any) -> Channel:
    """A call of the client and the context of the server have the same two methods."""
    make, unmake = from_bytes(place.task), to_bytes(place.task)
    return Channel(send=lambda value: call.write(unmake(value)), receive=call.read, value=make)
