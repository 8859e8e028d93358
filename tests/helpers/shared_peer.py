"""One end of a shared-memory stream as a process of its own, to be killed.

shared_peer.py receive SOCKET LOG            a line per message that is done: its number
shared_peer.py send SOCKET COUNT NBYTES      arrays of that size, the number in each element
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys

import numpy as np

from net.inbox import Edge, Inbox
from net.messages import Parcel
from net.shared.listener import Door, SharedListener
from net.shared.sender import SharedSender
from net.timing import Timing
from net.values import pack

STREAM = "a.x>b.y"
FAST = Timing(first_retry_s=0.005, longest_retry_s=0.02, close_s=10.0)


async def receive(path: str, log: str) -> None:
    """Note the number of each message, then be done with it."""
    fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    box = Inbox("y", [Edge(STREAM, queue=4, transport="shm")])
    async with SharedListener([Door(path, box, STREAM)], timing=FAST):
        async for message in box:
            array = message.value
            assert array.min() == array.max()
            os.write(fd, f"{array[0]}\n".encode())
            message.done()


async def send(path: str, count: int, nbytes: int) -> None:
    """Send, and end properly."""
    sender = SharedSender(path, stream=STREAM, input="y", sender="a", timing=FAST)
    for number in itertools.count() if count < 0 else range(count):
        array = np.full(nbytes // 8, number)
        await sender.deliver(Parcel(pack(array), sender.run, number))
    assert await sender.aclose()


if __name__ == "__main__":
    role, path, *rest = sys.argv[1:]
    if role == "receive":
        asyncio.run(receive(path, rest[0]))
    else:
        asyncio.run(send(path, int(rest[0]), int(rest[1])))
