"""Both ends of a stream through shared memory in one loop, and what they may not leave behind."""

from __future__ import annotations

import asyncio
import itertools
import os

import numpy as np

from net.inbox import Edge, Inbox
from net.messages import Parcel
from net.shared.listener import Door, SharedListener
from net.shared.sender import SharedSender
from net.timing import Timing
from net.values import pack

STREAM = "a.x>b.y"
FAST = Timing(first_retry_s=0.005, longest_retry_s=0.02, close_s=0.2, hello_s=5.0)
MIB = 2**20
BIG = np.arange(MIB // 8)
HUGE = np.arange(4 * MIB // 8)


def descriptors():
    return len(os.listdir("/proc/self/fd"))


class Pair:
    """Both ends, and a path between them."""

    def __init__(self, folder, *, queue=16, policy="block", copies=False, memory_bytes=8 * MIB,
                 name="s.sock", stream=STREAM, **options):  # fmt: skip
        self.path = str(folder / name)
        self.box = Inbox("y", [Edge(STREAM, queue, policy, transport="shm")])
        self.box.by_hand = True  # else it holds the last message, and so its slot
        self.listener = SharedListener(
            [Door(self.path, self.box, STREAM, copies)], timing=FAST, memory_bytes=memory_bytes
        )
        options = {"policy": policy, "queue": queue, "memory_bytes": memory_bytes, **options}
        self.sender = SharedSender(self.path, stream=stream, input="y", sender="a", timing=FAST,
                                   **options)  # fmt: skip
        self.numbers = itertools.count(1)
        self.in_few_steps = 0

    async def __aenter__(self):
        await self.listener.open()
        return self

    async def __aexit__(self, *error):
        self.sender.abort()
        self.box.close()
        await self.listener.aclose()

    @property
    def edge(self):
        return self.box.edges[STREAM]

    @property
    def receiver(self):
        (found,) = self.listener.receivers
        return found

    async def send(self, value, **options):
        """Arrays as modules send them: in few steps, if that can be."""
        number = next(self.numbers)
        quick = isinstance(value, np.ndarray) and not options
        if quick and self.sender.at_once(value, self.sender.run, number, None, 1.0):
            self.in_few_steps += 1
            return
        await self.sender.deliver(Parcel(pack(value), self.sender.run, number, **options))

    async def pass_on(self, value):
        await self.send(value)
        message = await self.box.take()
        message.done()
        return message.value


async def until(check):
    """Looks again and again: for what nobody is told of. (Of messages `queueing.queued` is.)"""
    async with asyncio.timeout(10):
        while not check():
            await asyncio.sleep(0.001)
