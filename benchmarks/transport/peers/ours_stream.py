"""Ours by the explicit API: `net.stream.connect` and `listen`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from operator import attrgetter
from typing import Any

from benchmarks.transport.peer import HERE, Channel, Place
from net import stream

_value = attrgetter("value")


@asynccontextmanager
async def listen(place: Place) -> AsyncIterator[Channel]:
    """Takes `there`; answers by a stream of its own."""
    there, back = place.ports
    async with stream.listen(HERE, there, ["there"]) as listener:
        receive = aiter(listener.inputs["there"]).__anext__
        if place.task.pattern == "one way":
            yield Channel(_cannot, receive, _value)
            return
        async with stream.connect(HERE, back, input="back", sender="answerer") as answers:

            async def answer(message: Any) -> None:
                await answers.send(message.value, reply_to=message.id)

            yield Channel(answers.send, receive, _value, answer)


@asynccontextmanager
async def dial(place: Place) -> AsyncIterator[Channel]:
    """Sends to `there`; hears answers at `back`."""
    there, back = place.ports
    async with (
        stream.listen(HERE, back, ["back"]) as listener,
        stream.connect(HERE, there, input="there", sender="asker") as sender,
    ):
        yield Channel(sender.send, aiter(listener.inputs["back"]).__anext__, _value)


async def _cannot(value: Any) -> None:
    raise RuntimeError("this end receives")
