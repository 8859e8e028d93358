"""A reader that is slower than its sender holds no more than its queue, whatever carries it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import asynccontextmanager

import numpy as np
import pytest
from helpers import slow_reader

from net import datagram, stream
from net.messages import Parcel
from net.shared.sender import SharedSender
from net.values import pack

HERE = "127.0.0.1"
BEYOND_BYTES = 32 * 2**20
"""What it may take beyond its queue."""
TIMES = 3
"""What is sent, of what it may hold: a reader that holds everything fails."""

pytestmark = pytest.mark.timeout(120)


HELD_S = 0.5
"""A `send` that takes so long waits for the reader."""


@asynccontextmanager
async def reading(*args):
    """The reader, and where it listens."""
    argv = [sys.executable, slow_reader.__file__, *map(str, args)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(argv, **pipes) as reader:
        try:
            yield reader, (await asyncio.to_thread(reader.stdout.readline)).strip()
        finally:
            reader.kill()


async def grown(reader):
    """By how much it grew, bytes."""
    return int(await asyncio.to_thread(reader.stdout.readline))


@asynccontextmanager
async def connect(transport, where):
    """A sender, and nothing left of it."""
    if transport == "shm":
        out = SharedSender(where, stream="a>y", input="y", sender="a", delivery="at-most-once")
    elif transport == "udp":
        options = datagram.Options(deadline_s=60.0)  # none is lost by standing still
        out = datagram.connect(HERE, int(where), input="y", sender="a", options=options)
    else:
        out = stream.connect(HERE, int(where), input="y", sender="a", delivery="at-most-once")
    try:
        yield out
    finally:
        out.abort()
        await out.aclose()


async def send(out, array, count, within_s=None):
    for number in range(count):
        async with asyncio.timeout(within_s):
            await out.deliver(Parcel(pack(array), 7, number))


@pytest.mark.parametrize("transport", ["tcp", "udp", "shm"])
async def test_a_slow_reader_holds_no_more_than_its_queue(transport, tmp_path):
    """Ten times faster a sender than it is a reader, or more, for three times what it may hold."""
    nbytes, queue = 2**20, 8
    bound = (queue + 1) * nbytes + BEYOND_BYTES
    count, array = TIMES * bound // nbytes, np.ones(nbytes, np.uint8)
    args = transport, nbytes, queue, count, tmp_path / "s.sock"
    async with reading(*args) as (reader, where), connect(transport, where) as out:
        await send(out, array, count)
        assert await grown(reader) <= bound


@pytest.mark.parametrize("transport", ["tcp", "udp", "shm"])
async def test_a_reader_that_stops_holds_its_sender_back(transport, tmp_path):
    """Small messages, of which Python's own part is large."""
    nbytes, queue = 4096, 16
    bound = (queue + 1) * nbytes + BEYOND_BYTES
    count, array = TIMES * bound // nbytes, np.ones(nbytes, np.uint8)
    args = transport, nbytes, queue, 0, tmp_path / "s.sock"
    async with reading(*args) as (reader, where), connect(transport, where) as out:
        await out.open()
        with pytest.raises(TimeoutError):  # it never gets to the end
            await send(out, array, count, HELD_S)
        reader.stdin.write("\n")
        reader.stdin.flush()
        assert await grown(reader) <= bound
