"""Ours by the SDK: two modules with the wiring that an agent would have written for them.

Each has a state folder, as modules have, so that what is recorded per message is in the figures.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from operator import attrgetter
from pathlib import Path
from typing import Any

import net
from benchmarks.transport.peer import HERE, Channel, Place
from net.wiring import read_wiring

THERE, BACK = "asker.question>answerer.question", "answerer.answer>asker.answer"
_value = attrgetter("value")


def _mesh(place: Place, module: str) -> net.Mesh:
    other = {"asker": "answerer", "answerer": "asker"}[module]
    there = _end(THERE, "question", other, place.ports[0])
    back = [_end(BACK, "answer", other, place.ports[1])] * (place.task.pattern == "echo")
    inputs, outputs = (back, [there]) if module == "asker" else ([there], back)
    wiring = {"mesh": "bench", "module": module, "host": module, "address": HERE}
    state = place.folder / module
    state.mkdir()
    text = json.dumps({**wiring, "inputs": inputs, "outputs": outputs})
    return net.Mesh(read_wiring(text), state=state, work=Path(place.folder))


def _end(stream: str, name: str, peer: str, port: int) -> dict[str, Any]:
    return {"stream": stream, "port_name": name, "peer": peer, "address": HERE, "port": port}


@asynccontextmanager
async def listen(place: Place) -> AsyncIterator[Channel]:
    """The module that answers."""
    async with _mesh(place, "answerer") as mesh:
        receive = mesh.input("question").receive
        if place.task.pattern == "one way":
            yield Channel(_cannot, receive, _value)
            return
        output = mesh.output("answer")

        async def answer(message: net.Message) -> None:
            await output.send(message.value, reply_to=message)

        yield Channel(output.send, receive, _value, answer)


@asynccontextmanager
async def dial(place: Place) -> AsyncIterator[Channel]:
    """The module that asks."""
    async with _mesh(place, "asker") as mesh:
        receive = mesh.input("answer").receive if mesh.inputs else _nothing
        yield Channel(mesh.output("question").send, receive, _value)


async def _cannot(value: Any) -> None:
    raise RuntimeError("this end receives")


async def _nothing() -> None:
    raise RuntimeError("this end sends")
