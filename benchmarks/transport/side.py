"""One end of a pair: a process that opens its end of a peer's channel and takes turns.

    python -m benchmarks.transport.side CONTENDER CASE listen|dial PORT PORT FOLDER

Speaks JSON lines: `ready` once the ends have met; then, for each line `{"warm": W, "count": N}`,
it exchanges W messages that don't count and N that do and says what it measured. One way, the
receiver says `warm` after the first W, and the sender waits for a line before the others. Times
are CLOCK_MONOTONIC's, which is one for all processes. It ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter as clock
from typing import Any, cast

import numpy as np

from benchmarks.transport import blocking
from benchmarks.transport.cases import CASES, Case
from benchmarks.transport.contenders import CONTENDERS
from benchmarks.transport.peer import Channel, Ends, Peer

Turn = dict[str, int]


@dataclass(slots=True)
class Side:
    """Where this end is, and how it talks to who gives the turns."""

    task: Case
    ports: tuple[int, int]
    folder: Path
    out: int
    value: Any = field(init=False)

    def __post_init__(self) -> None:
        self.value = self.task.make()

    def say(self, what: str, **more: Any) -> None:
        """One line."""
        os.write(self.out, json.dumps({"is": what, **more}).encode() + b"\n")

    def hear(self) -> Turn:
        """The next line; without one this process ends at once, whatever a library is up to."""
        line = sys.stdin.readline()
        if not line:
            os._exit(0)
        return cast(Turn, json.loads(line))

    async def ahear(self) -> Turn:
        """The same while the loop runs on: heartbeats must not stop between turns."""
        return await asyncio.to_thread(self.hear)

    def check(self, value: Any) -> None:
        """What arrived is what was sent, in the form in which it was."""
        if isinstance(self.value, np.ndarray):
            same = isinstance(value, np.ndarray) and np.array_equal(
                value.reshape(-1).view(np.uint8), self.value.reshape(-1).view(np.uint8)
            )
        else:
            same = bytes(value) == self.value
        if not same:
            raise RuntimeError("what arrived is not what was sent")


async def ask(side: Side, channel: Channel, turn: Turn) -> None:
    """Round trips, one after the other."""
    if channel.ask_all is not None:
        await channel.ask_all(turn["warm"])
        side.say("done", samples=await channel.ask_all(turn["count"]))
        return
    send, receive, value = channel.send, channel.receive, side.value
    got, samples = None, []
    for _ in range(turn["warm"] + turn["count"]):
        begin = clock()
        await send(value)
        got = await receive()
        samples.append(clock() - begin)
    side.check(channel.value(got))
    side.say("done", samples=samples[turn["warm"] :])


async def answer(side: Side, channel: Channel, turn: Turn) -> None:
    """The other end of `ask`."""
    if channel.answer_all is not None:
        await channel.answer_all(turn["warm"] + turn["count"])
    else:
        receive, back = channel.receive, channel.answer or channel.send
        for _ in range(turn["warm"] + turn["count"]):
            await back(await receive())
    side.say("done")


async def send(side: Side, channel: Channel, turn: Turn) -> None:
    """The same value, as fast as the other end takes it."""
    send, value = channel.send, side.value
    for _ in range(turn["warm"]):
        await send(value)
    await side.ahear()
    begin = clock()
    for _ in range(turn["count"]):
        await send(value)
    side.say("done", begin=begin)


async def receive(side: Side, channel: Channel, turn: Turn) -> None:
    """The other end of `send`."""
    receive, value_of = channel.receive, channel.value
    for _ in range(turn["warm"]):
        await receive()
    side.say("warm")
    value, arrivals = None, []
    for _ in range(turn["count"]):
        value = value_of(await receive())
        arrivals.append(clock())
    side.check(value)
    side.say("done", arrivals=arrivals)


ROLES: dict[tuple[str, str], Callable[[Side, Channel, Turn], Any]] = {
    ("echo", "listen"): answer,
    ("echo", "dial"): ask,
    ("one way", "listen"): receive,
    ("one way", "dial"): send,
}


async def take_turns(ends: AbstractAsyncContextManager[Channel], side: Side, end: str) -> None:
    """Until the process ends."""
    role = ROLES[side.task.pattern, end]
    async with ends as channel:
        side.say("ready")
        while True:
            await role(side, channel, await side.ahear())


def main(argv: list[str]) -> None:
    """Open the end and take turns."""
    name, case, end, first, second, folder = argv
    out = os.dup(1)
    os.dup2(2, 1)  # what libraries print goes elsewhere
    side = Side(CASES[case], (int(first), int(second)), Path(folder), out)
    contender = CONTENDERS[name]
    peer = cast(Peer, importlib.import_module(f"benchmarks.transport.peers.{contender.peer}"))
    ends: Ends = peer.listen(side) if end == "listen" else peer.dial(side)
    if not isinstance(ends, AbstractAsyncContextManager):
        blocking.take_turns(ends, side, end)
        return
    factory = importlib.import_module(contender.loop).new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(take_turns(ends, side, end))


if __name__ == "__main__":
    main(sys.argv[1:])
