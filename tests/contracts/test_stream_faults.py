"""Peers that misbehave or vanish, readers that are slow, clocks that step: over real TCP."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import textwrap

import pytest

from net import stream, wire
from net.errors import TransportError
from net.tcp.connection import Connection

HERE = "127.0.0.1"
FAST = stream.Timing(first_retry_s=0.005, longest_retry_s=0.02, close_s=0.3)
pytestmark = pytest.mark.timeout(60)


def descriptors():
    return len(os.listdir("/proc/self/fd"))


async def test_a_thousand_connects_and_drops_leave_nothing():
    """Some without a word, some with half of one, some in the middle of a message."""
    said = [
        b"", wire.hello("s", "y", "a")[:30], wire.hello("s", "y", "a"),
        wire.hello("s", "y", "a") + bytes(20), wire.hello("s", "nobody", "a"),
    ]  # fmt: skip
    async with stream.listen(HERE, 0, ["y"], timing=FAST) as listener:
        before = descriptors()
        for number in range(1000):
            reader, writer = await asyncio.open_connection(HERE, listener.port)
            writer.write(said[number % len(said)])
            if number % 3 == 0:
                await writer.drain()
                await asyncio.sleep(0)
            writer.transport.abort()
            del reader
        async with stream.connect(
            HERE, listener.port, input="y", sender="honest", timing=FAST
        ) as out:
            await out.send("still here")
            assert (await listener.inputs["y"].take()).value == "still here"
            assert await out.aclose()
        while listener.connections:
            await asyncio.sleep(0.001)
        assert descriptors() <= before


SLOW = textwrap.dedent(
    """
    import asyncio, sys
    from net import stream

    def grown():
        for line in open("/proc/self/status"):
            if line.startswith("VmRSS"):
                return int(line.split()[1]) * 1024

    async def main():
        nbytes, queue, count = map(int, sys.argv[1:])
        async with stream.listen("127.0.0.1", 0, ["y"], queue=queue) as listener:
            before = most = grown()
            print(listener.port, flush=True)
            for _ in range(count):
                message = await listener.inputs["y"].take()
                assert message.value.nbytes == nbytes
                del message
                most = max(most, grown())
                await asyncio.sleep(0.01)
            print(most - before, flush=True)

    asyncio.run(main())
    """
)


@pytest.mark.parametrize(("nbytes", "queue"), [(2**20, 8), (4096, 16), (16 * 2**20, 2)])
async def test_a_slow_reader_holds_no_more_than_its_queue(nbytes, queue):
    """Ten times faster a sender than it is a reader."""
    import numpy as np

    count, array = 25, np.ones(nbytes, np.uint8)
    argv = [sys.executable, "-c", SLOW, str(nbytes), str(queue), str(count)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        port = int(reader.stdout.readline())
        async with stream.connect(
            HERE, port, input="y", sender="a", delivery="at-most-once"
        ) as out:
            for _ in range(count):
                await out.send(array)
        grown = int(await asyncio.to_thread(reader.stdout.readline))
        assert reader.wait(30) == 0
    assert grown <= (queue + 1) * nbytes + 32 * 2**20


async def test_a_clock_that_steps_loses_and_reorders_nothing():
    now = [1.8e9]
    box = stream.Inbox("y", clock=lambda: now[0])
    async with stream.Listener([(HERE, 0)], [box], timing=FAST, clock=lambda: now[0]) as listener:
        out = stream.Sender(
            HERE, listener.port, stream="a>y", input="y", sender="a", timing=FAST,
            clock=lambda: now[0],
        )  # fmt: skip
        async with out:
            for number, step in enumerate((0, -900.0, 1e6, -1e6, 5.0) * 4):
                now[0] += step
                await out.send(number)
                assert (await box.take()).value == number
            await out.send("with a deadline", within_s=10.0)
            now[0] -= 500.0
            assert (await box.take()).value == "with a deadline"
            summary = box.edges["a>y"].stats.summary(now[0])
            assert summary["messages"] == 21
            for latencies in summary["latency"].values():
                assert min(latencies.values()) >= 0
        assert out.stats().messages == 21


async def test_a_name_that_is_not_found_is_told_with_the_name():
    out = stream.connect("no-such-host.invalid", 7, input="y", sender="a", timing=FAST)
    with pytest.raises(TransportError, match=r"no-such-host\.invalid:7"):
        await out.open()
    assert not await out.aclose()


async def test_it_never_takes_itself_for_its_receiver():
    """On loopback the kernel may give a dialing socket the very port that it dials."""
    loop = asyncio.get_running_loop()
    taken = socket.socket()
    taken.bind((HERE, 0))
    taken.connect(taken.getsockname())  # TCP's simultaneous open, with itself

    class Heard(Connection):
        def on_event(self, event):
            raise AssertionError(event)

    _, connection = await loop.create_connection(Heard, sock=taken)
    assert connection.is_itself
    connection.abort()
    await connection.wait_closed()
    async with stream.listen(HERE, 0, ["y"]) as listener:
        _, connection = await loop.create_connection(Heard, HERE, listener.port)
        assert not connection.is_itself
        connection.abort()
        await connection.wait_closed()
