"""What streams guarantee, over real TCP on loopback: cuts, restarts, slow receivers, deadlines."""

from __future__ import annotations

import asyncio
import itertools
import socket

import numpy as np
import pytest
from helpers.queueing import queued

from net import stream
from net.errors import ConnectionClosed

HERE = "127.0.0.1"
FAST = stream.Timing(first_retry_s=0.005, longest_retry_s=0.02, close_s=0.3, dead_s=0.4)
pytestmark = pytest.mark.timeout(30)


@pytest.fixture(autouse=True)
async def no_leaks():
    """Every test leaves no task."""
    yield
    assert asyncio.all_tasks() == {asyncio.current_task()}


def free_port():
    with socket.socket() as sock:
        sock.bind((HERE, 0))
        return sock.getsockname()[1]


def connect(port, **options):
    return stream.connect(HERE, port, input="y", sender="a", timing=FAST, **options)


def listen(port=0, **options):
    return stream.listen(HERE, port, ["y"], timing=FAST, **options)


def cut(out):
    """The network fails: neither side says goodbye."""
    out._connection.abort()


async def test_what_was_on_its_way_when_the_connection_was_cut_arrives_once():
    async with listen(queue=4) as listener, connect(listener.port) as out:
        inbox = listener.inputs["y"]

        async def send():
            for number in range(300):
                await out.send(number)
                if number % 37 == 0:
                    cut(out)
            await out.aclose()

        async with asyncio.TaskGroup() as group:
            group.create_task(send())
            got = [message.value async for message in inbox]
        assert got == list(range(300))
        assert out.stats().reconnects >= 8


async def test_large_arrays_too_and_their_memory_may_change_after_send():
    array = np.zeros(3 * 2**20, np.uint8)
    async with listen(queue=2) as listener, connect(listener.port) as out:

        async def send():
            for number in range(12):
                array[:] = number
                await out.send(array)
                array[:] = 255
                if number % 5 == 2:
                    cut(out)
            await out.aclose()

        async with asyncio.TaskGroup() as group:
            group.create_task(send())
            for number in range(12):
                value = (await listener.inputs["y"].take()).value
                assert value.min() == value.max() == number
                del value


async def test_a_receiver_that_was_not_done_gets_it_again_in_its_next_life():
    port = free_port()
    async with asyncio.TaskGroup() as group:
        out = connect(port)
        group.create_task(out.open())

        async def life_that_fails_at_the_second():
            async with listen(port) as listener:
                await out.send("first")
                await out.send("second")
                assert (await listener.inputs["y"].take()).value == "first"
                assert (await listener.inputs["y"].take()).value == "second"
                raise RuntimeError("the module fails")

        with pytest.raises(RuntimeError):
            await life_that_fails_at_the_second()
        async with listen(port) as listener:
            assert (await listener.inputs["y"].take()).value == "second"
            await out.send("third")
            assert (await listener.inputs["y"].take()).value == "third"
            assert await out.aclose()


async def test_a_receiver_that_ends_in_order_is_done_with_what_it_took():
    port = free_port()
    async with asyncio.TaskGroup() as group:
        out = connect(port)
        group.create_task(out.open())
        async with listen(port) as listener:
            await out.send("first")
            assert (await listener.inputs["y"].take()).value == "first"
        async with listen(port) as listener:
            await out.send("second")
            assert (await listener.inputs["y"].take()).value == "second"
            assert await out.aclose()


async def test_by_hand_a_message_is_done_when_it_says_so():
    async with listen() as listener, connect(listener.port) as out:
        inbox = listener.inputs["y"]
        inbox.by_hand = True
        for number in range(3):
            await out.send(number)
        messages = [await inbox.take() for _ in range(3)]
        flushing = asyncio.timeout(0.05)
        with pytest.raises(TimeoutError):
            async with flushing:
                await out.flush()
        for message in reversed(messages):
            message.done()
        await out.flush()
        assert out.stats().waiting == 0


async def test_of_tasks_that_share_an_input_each_one_s_message_is_done_with():
    async with listen() as listener, connect(listener.port) as out:
        inbox = listener.inputs["y"]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(inbox.take()) for _ in range(4)]
            await asyncio.sleep(0)  # one turn of the loop: all of them wait
            for number, task in enumerate(tasks):
                await out.send(b"%d" % number)
                assert (await task).value == b"%d" % number
        inbox.finish()
        async with asyncio.timeout(10):
            await out.flush()


async def test_at_most_once_loses_what_a_cut_takes_and_repeats_nothing():
    async with listen(queue=1) as listener, connect(listener.port, delivery="at-most-once") as out:
        for number in range(100):
            await out.send(number)
        assert out.stats().waiting == 0
        inbox = listener.inputs["y"]
        assert (await inbox.take()).value == 0
        connection = out._connection
        cut(out)
        await connection.wait_closed()
        await out.send("after")
        got = []
        async with asyncio.timeout(10):
            while not got or got[-1] != "after":
                got.append((await inbox.take()).value)
        assert got[:-1] == sorted(set(got[:-1]))


async def test_drop_oldest_never_waits_and_keeps_the_newest():
    async with (
        listen(queue=3, policy="drop-oldest") as listener,
        connect(listener.port, policy="drop-oldest", queue=3) as out,
    ):
        for number in range(1000):
            async with asyncio.timeout(5):
                await out.send(number)
            await asyncio.sleep(0)  # both ends are in this loop: the other one has its turn
        inbox = listener.inputs["y"]
        await queued(inbox, lambda: inbox._items and inbox._items[-1].value == 999)
        assert [(await inbox.take()).value for _ in range(3)] == [997, 998, 999]
        assert inbox.edges["a>y"].stats.dropped + out.stats().dropped == 997


async def test_latest_is_the_latest_also_while_nobody_is_there():
    port = free_port()
    out = connect(port, policy="latest")
    for number in range(50):
        await out.send(np.full(100_000, number))
    async with listen(port, policy="latest") as listener:
        message = await listener.inputs["y"].take()
        assert message.value[0] == 49
        assert out.stats().dropped == 49
        assert await out.aclose()


async def test_a_message_too_old_is_dropped_where_it_waits():
    now = itertools.count(1000.0, 0.001)
    async with stream.listen(HERE, 0, ["y"], timing=FAST) as listener:
        inbox = listener.inputs["y"]
        inbox._clock = lambda: next(now)
        out = stream.Sender(
            HERE, listener.port, stream="a>y", input="y", sender="a", timing=FAST,
            clock=lambda: next(now),
        )  # fmt: skip
        async with out:
            await out.send("old", within_s=0.5)
            await out.send("fresh")
            await queued(inbox, lambda: len(inbox._items) == 2)
            for _ in range(1000):  # a second passes
                next(now)
            assert (await inbox.take()).value == "fresh"
            assert inbox.edges["a>y"].stats.expired == 1
            out._deadline_s = 1e-6
            await out.send("too late before it is written")
            out._deadline_s = 0.0
            await out.send("in time")
            assert (await inbox.take()).value == "in time"
            assert out.stats().expired == 1


async def test_after_the_end_nothing_can_be_sent():
    async with listen() as listener:
        out = connect(listener.port, delivery="at-most-once")
        await out.send(1)
        assert await out.aclose()
        for _ in range(2):
            with pytest.raises(ConnectionClosed):
                await out.send(2)


async def test_exactly_once_drops_what_another_life_of_the_sender_sent():
    """A module is killed after it has answered, and answers again in its next life."""
    async with listen() as listener:
        inbox = listener.inputs["y"]
        for life in range(3):
            async with connect(listener.port, delivery="exactly-once") as out:
                for number in range(4 + life):
                    parcel = stream.Parcel(stream.pack(f"{number}"), 1 << 63, number)
                    await out.deliver(parcel)
                while inbox.edges["a>y"].progress.received < 4 + life:
                    await asyncio.sleep(0)  # what came before is dropped, and nobody is told
                if life < 2:
                    out.abort()
                    await out.aclose()
                    continue
                got = [(await inbox.take()).value for _ in range(6)]
                inbox.finish()
        assert got == [str(n) for n in range(6)]
        assert inbox.edges["a>y"].stats.duplicates == 4 + 5


async def replay(listener, sender, numbers):
    """Of what a life of a sender sends, what the module gets to see."""
    async with stream.connect(
        HERE, listener.port, input="y", sender=sender, timing=FAST, delivery="exactly-once"
    ) as out:
        for number in numbers:
            await out.deliver(stream.Parcel(stream.pack(number), 1 << 63, number))
        async with asyncio.TaskGroup() as group:
            group.create_task(out.aclose())
            got = [message.value async for message in listener.inputs["y"]]
    return got


async def test_exactly_once_remembers_the_last_of_each_stream(monkeypatch):
    """However many others there are: what is done with of one pushes nothing of another out."""
    monkeypatch.setattr("net.inbox.REMEMBERED", 3)
    async with listen() as listener:
        for sender in "bca":
            assert await replay(listener, sender, range(5)) == [0, 1, 2, 3, 4]
        for sender in "bca":
            assert await replay(listener, sender, [2, 3, 4, 5]) == [5]  # the bound, to the number
        assert await replay(listener, "b", [2]) == [2]  # beyond it: docs/transport.md
        monkeypatch.setattr("net.inbox.REMEMBERED_OF_ALL", 9)
        assert await replay(listener, "d", [0, 1]) == [0, 1]
        inbox = listener.inputs["y"]
        assert sum(len(edge.done_ids) for edge in inbox.edges.values()) == 9
        assert len(inbox.edges["d>y"].done_ids) == 2


async def until_ending(out, closing):
    """The task has run up to its first wait: from now on the sender is closing."""
    while not out._ending:
        await asyncio.sleep(0)  # a turn of the loop, or two
    assert not closing.done()


async def test_what_is_sent_after_closing_has_begun_is_an_error():
    async with listen(queue=1) as listener, connect(listener.port) as out:
        inbox = listener.inputs["y"]
        inbox.by_hand = True
        await out.send("first")
        async with asyncio.TaskGroup() as group:
            closing = group.create_task(out.aclose())
            await until_ending(out, closing)
            for late in ("small", np.zeros(2**18)):
                with pytest.raises(ConnectionClosed, match="closed here"):
                    await out.send(late)
            message = await inbox.take()
            message.done()
        assert message.value == "first"
        assert closing.result() is True
        with pytest.raises(ConnectionClosed):
            await inbox.take()


@pytest.mark.parametrize("words", [2**17, 100])
async def test_what_was_being_sent_when_closing_began_arrives(words):
    """Several wait for their turn, large ones for each other and small ones for the receiver."""
    async with listen(queue=1) as listener, connect(listener.port) as out:
        inbox = listener.inputs["y"]
        blocker = np.full(2**21, -1)
        count = 5
        async with asyncio.TaskGroup() as group:
            group.create_task(out.send(blocker))
            sends = [group.create_task(out.send(np.full(words, n))) for n in range(count)]
            while out._queued < count:
                await asyncio.sleep(0)  # a few turns of the loop: all have begun
            closing = group.create_task(out.aclose())
            await until_ending(out, closing)
            got = [message.value[0] async for message in inbox]
        assert closing.result() is True
        assert got == [-1, *range(count)]
        assert all(task.result() for task in sends)


async def test_small_messages_that_wait_for_the_kernel_when_closing_begins_arrive():
    async with listen(queue=1) as listener, connect(listener.port) as out:
        value = bytes(30_000)
        async with asyncio.TaskGroup() as group:
            sends = []
            while not out._queued:
                sends.append(group.create_task(out.send(value)))
                await asyncio.sleep(0)  # one turn of the loop: it has begun
            closing = group.create_task(out.aclose())
            await until_ending(out, closing)
            got = [len(message.value) async for message in listener.inputs["y"]]
        assert closing.result() is True
        assert got == [len(value)] * len(sends)
