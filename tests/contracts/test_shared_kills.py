"""Shared memory and `kill -9` of either side: nothing is lost, nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from helpers import shared_peer

from net.inbox import Edge, Inbox
from net.messages import Parcel
from net.shared.listener import Door, SharedListener
from net.shared.sender import SharedSender
from net.values import pack

KILLS = int(os.environ.get("OTTER_KILLS", "20"))
"""Of each role; `make test-kills` has more."""
pytestmark = [pytest.mark.timeout(max(120, 5 * KILLS)), pytest.mark.aside]
MIB = 2**20
PEER = Path(shared_peer.__file__)


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "s")


@pytest.fixture(autouse=True)
def no_leaks():
    gc.collect()  # what earlier tests left to it is not this one's
    before = memories()
    yield
    assert memories() == before


def memories():
    """Shared memory that this process holds: its own, and what it was passed."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{name}"))
        except FileNotFoundError:
            continue
    return [link for link in found if "memfd:otter" in link]


@asynccontextmanager
async def peer(*args):
    """The other side as a process; killed at the end if it still lives."""
    child = await asyncio.create_subprocess_exec(sys.executable, str(PEER), *map(str, args))
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


@asynccontextmanager
async def ending(sender):
    """No memory of it is left, however the test ends."""
    try:
        yield
    finally:
        sender.abort()


async def until(check):
    async with asyncio.timeout(30):
        while not check():
            await asyncio.sleep(0.001)  # another process does it, and tells nobody


def numbers(log):
    return [int(line) for line in log.read_text().split()] if log.exists() else []


@pytest.mark.slow
@pytest.mark.parametrize("nbytes", [1000, 100_000])
async def test_a_receiver_that_is_killed_again_and_again_loses_nothing(path, tmp_path, nbytes):
    log = tmp_path / "log"
    dice = random.Random(7)
    sender = SharedSender(path, stream=shared_peer.STREAM, input="y", sender="a",
                          timing=shared_peer.FAST, memory_bytes=4 * MIB)  # fmt: skip
    stop = asyncio.Event()
    sent = 0

    async def send():
        nonlocal sent
        while not stop.is_set():
            array = sender.empty(nbytes // 8, int)
            if array is None or sent % 2:
                array = np.empty(nbytes // 8, int)
            array[:] = sent
            await sender.deliver(Parcel(pack(array), sender.run, sent))
            sent += 1
            await asyncio.sleep(0)  # whoever kills the receiver has its turn

    async with ending(sender), asyncio.TaskGroup() as group:
        task = group.create_task(send())
        for _ in range(KILLS):
            before = len(numbers(log))
            async with peer("receive", path, log) as child:
                await until(lambda b=before: len(numbers(log)) > b + 5)
                await asyncio.sleep(dice.random() * 0.02)
                child.kill()
                await child.wait()
        async with peer("receive", path, log) as child:
            stop.set()
            await task
            assert await sender.aclose()
            assert await child.wait() == 0
    got = numbers(log)
    assert set(got) == set(range(sent))
    assert len(got) - len(set(got)) <= 100 * KILLS  # only what was not acknowledged came twice
    assert sender.stats().reconnects == KILLS
    assert not os.path.exists(path)


@pytest.mark.slow
async def test_a_sender_that_is_killed_again_and_again_leaves_no_memory(path):
    dice, before = random.Random(8), memories()
    box = Inbox("y", [Edge(shared_peer.STREAM, queue=4, transport="shm")])
    box.by_hand = True
    async with SharedListener([Door(path, box, shared_peer.STREAM)]) as listener:
        for _ in range(KILLS):
            async with peer("send", path, -1, 200_000) as child:
                first = await box.take()
                assert (first.value == 0).all()
                first.done()
                for expected in range(1, dice.randrange(2, 30)):
                    message = await box.take()
                    assert (message.value == expected).all()  # in order, from each life
                    message.done()
                child.kill()
                await child.wait()
                # What it had said while it lived still comes, and its memory is still there.
                await until(lambda: box.edges[shared_peer.STREAM].live is None or not box.empty)
                while (left := box.take_now()) is not None or listener.receivers:
                    if left is not None:
                        expected += 1
                        assert (left.value == expected).all()
                        left.done()
                    await asyncio.sleep(0)  # nobody is told when the last receiver has gone
            del left
            assert first.value[7] == 0  # it outlives its maker
            del first, message
            assert memories() == before


async def test_an_end_between_two_processes(path, tmp_path):
    log = tmp_path / "log"
    async with peer("receive", path, log) as receiver, peer("send", path, 50, MIB) as sender:
        assert await sender.wait() == 0
        assert await receiver.wait() == 0
    assert numbers(log) == list(range(50))
    assert not os.path.exists(path)
