"""Streams through shared memory, over real sockets and memfds: what TCP promises, too."""

from __future__ import annotations

import asyncio
import gc
import os

import numpy as np
import pytest
from helpers.shared_pair import BIG, FAST, HUGE, MIB, STREAM, Pair, descriptors, until

from net.errors import ConnectionClosed, LocalWireError, StreamRefused, TransportError
from net.messages import Parcel
from net.shared.sender import SharedSender
from net.values import pack

pytestmark = pytest.mark.timeout(30)


@pytest.fixture(autouse=True)
async def no_leaks(tmp_path):
    """Every test leaves no task, no descriptor (so no memory either), no socket's name."""
    gc.collect()  # what earlier tests left to it is not this one's
    before = descriptors()
    yield
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert descriptors() == before
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".sock")]


async def test_values_of_any_size_arrive_in_order_with_their_story(tmp_path):
    values = ["text", BIG, {"a": [1, None, b"x"], "image": BIG[:100]}, HUGE, "z" * 100_000, BIG]
    async with Pair(tmp_path, memory_bytes=3 * MIB) as pair, asyncio.TaskGroup() as group:

        async def send_all():
            for value in values:
                await pair.send(value, reply_to="q:1", made=1.0)

        group.create_task(send_all())
        got = [await pair.box.take() for _ in values]
        for value, message in zip(values, got, strict=True):
            np.testing.assert_equal(message.value, value)
            assert (message.source, message.stream, message.reply_to) == ("a", STREAM, "q:1")
            assert message.made <= message.sent <= message.received <= message.taken
        assert [m.seq for m in got] == [1, 2, 3, 4, 5, 6]


async def test_what_was_filled_in_place_is_not_copied(tmp_path):
    async with Pair(tmp_path) as pair:
        await pair.pass_on(BIG)  # the memory is known from now on
        array = pair.sender.empty((256, 1024), "f4")
        array[:] = 3
        got = await pair.pass_on(array)
        assert pair.in_few_steps == 1
        assert not got.flags.writeable
        assert not array.flags.writeable
        assert (got == 3).all()
        array.flags.writeable = True  # only to see that it is the same memory
        array[1, 1] = 5
        assert got[1, 1] == 5
        del got, array


@pytest.mark.parametrize("delivery", ["at-most-once", "at-least-once"])
async def test_a_hundred_that_were_filled_in_place_go_through_few_slots(tmp_path, delivery):
    async with Pair(tmp_path, memory_bytes=4 * MIB, delivery=delivery) as pair:
        await pair.pass_on(BIG)
        for i in range(100):
            while (array := pair.sender.empty(MIB // 8)) is None:
                await asyncio.sleep(0)  # its receiver says by and by what it has given back
            array[:] = i
            got = await pair.pass_on(array)
            del array
            assert (got == i).all()
            del got
        assert pair.in_few_steps == 100
        await pair.sender.flush()
        await until(lambda: not pair.sender._outgoing.lent)
        assert pair.sender.stats().messages == 101
        assert not pair.sender._regions.ready


async def test_what_was_filled_in_place_is_sent_again_after_a_cut(tmp_path):
    async with Pair(tmp_path) as pair:
        await pair.pass_on(BIG)
        array = pair.sender.empty(BIG.shape, BIG.dtype)
        array[:] = BIG
        await pair.send(array)
        assert pair.in_few_steps == 1
        pair.receiver.close()  # it hasn't read it
        message = await pair.box.take()
        np.testing.assert_equal(message.value, BIG)
        assert (message.seq, pair.sender.stats().resent) == (2, 1)
        del message, array


@pytest.mark.parametrize("dtype", ["f4", "M8[s]", "V9", [("x", "f4"), ("y", "u1")]])
async def test_an_array_of_any_type_can_be_had_and_sent_or_is_refused(tmp_path, dtype):
    async with Pair(tmp_path) as pair:
        array = pair.sender.empty(MIB // 8, dtype)
        array.view("u1")[:] = 3
        if array.dtype.kind == "V" and not array.dtype.names:
            with pytest.raises(LocalWireError):
                await pair.pass_on(array)
        else:
            got = await pair.pass_on(array)
            assert got.dtype == array.dtype
            assert got.tobytes() == array.tobytes()
            del got
        del array


async def test_an_array_may_change_once_it_is_sent(tmp_path):
    async with Pair(tmp_path) as pair:
        array = np.zeros(MIB)
        await pair.send(array)
        array += 1
        message = await pair.box.take()
        assert message.value.sum() == 0
        del message


async def test_copies_are_writable(tmp_path):
    async with Pair(tmp_path, copies=True) as pair:
        got = await pair.pass_on(BIG)
        got += 1
        assert pair.receiver.lent == 0


async def test_arrays_that_are_kept_stay_as_they_are_and_stop_nobody(tmp_path):
    """Twenty arrays of 1 MiB through 4 MiB, all kept: a slot is used again only when it may be."""
    async with Pair(tmp_path, memory_bytes=4 * MIB) as pair:
        kept = [await pair.pass_on(np.full(MIB // 8, i)) for i in range(20)]
        for i, array in enumerate(kept):
            assert (array == i).all()
        in_memory = [array for array in kept if not array.flags.writeable]
        assert len(in_memory) == 3  # three and their headers fit
        assert pair.sender.stats().extra["shared_bytes"] == 4 * MIB
        del kept, array, in_memory
        await until(lambda: not pair.sender._outgoing.lent)
        assert not (await pair.pass_on(BIG)).flags.writeable


async def test_a_hundred_arrays_go_through_the_same_few_slots(tmp_path):
    async with Pair(tmp_path, memory_bytes=4 * MIB) as pair:
        for i in range(100):
            got = await pair.pass_on(np.full(MIB // 8, i))
            assert (got == i).all()
            del got
        assert pair.sender.stats().extra["shared_bytes"] <= 4 * MIB


async def test_a_full_queue_holds_the_sender_back_and_loses_nothing(tmp_path):
    async with Pair(tmp_path, queue=2) as pair, asyncio.TaskGroup() as group:
        sent = []

        async def send_all():
            for i in range(3000):
                await pair.send(str(i) + "x" * 1000)
                sent.append(i)

        task = group.create_task(send_all())
        await until(lambda: len(pair.edge.waiting) == 2 and pair.sender._unsettled.busy)
        assert not task.done()
        assert len(sent) < 1000  # what a socket holds
        for i in range(3000):
            message = await pair.box.take()
            assert message.value.rstrip("x") == str(i)
            message.done()
            assert len(pair.edge.waiting) <= 2


async def test_a_full_queue_of_arrays_holds_the_sender_back(tmp_path):
    async with Pair(tmp_path, queue=2, memory_bytes=4 * MIB) as pair, asyncio.TaskGroup() as group:

        async def send_all():
            for i in range(20):
                await pair.send(np.full(MIB // 8, i))

        task = group.create_task(send_all())
        await until(lambda: len(pair.edge.waiting) == 2 and pair.sender._changed.heard)
        assert not task.done()
        for i in range(20):
            message = await pair.box.take()
            assert (message.value == i).all()
            message.done()
            del message


@pytest.mark.parametrize("value", ["text", BIG])
@pytest.mark.parametrize(("policy", "left"), [("drop-oldest", [6, 7, 8, 9]), ("latest", [9])])
async def test_a_full_queue_drops_what_is_oldest(tmp_path, policy, left, value):
    async with Pair(tmp_path, queue=4, policy=policy) as pair:
        await pair.sender.open()
        for i in range(10):
            await pair.send({"i": i, "v": value})
        await until(lambda: pair.edge.waiting and pair.edge.waiting[-1].value["i"] == 9)
        assert [(await pair.box.take()).value["i"] for _ in left] == left
        assert pair.edge.stats.dropped + pair.sender.stats().dropped == 10 - len(left)


async def test_without_a_receiver_a_stream_that_drops_keeps_the_newest(tmp_path):
    pair = Pair(tmp_path, queue=4, policy="drop-oldest")
    for i in range(10):
        await pair.send({"i": i, "v": BIG})
    async with pair:
        assert [(await pair.box.take()).value["i"] for _ in range(4)] == [6, 7, 8, 9]
    assert pair.sender.stats().dropped == 6


async def test_the_sender_waits_for_a_receiver(tmp_path):
    pair = Pair(tmp_path)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(pair.send("early"))
        await until(lambda: pair.sender._dialing._timer is not None)
        async with pair:
            assert (await pair.box.take()).value == "early"
            await task


@pytest.mark.parametrize(
    ("delivery", "confirmed_by"),
    [("at-most-once", "arrived"), ("at-least-once", "taken"), ("exactly-once", "done")],
)
async def test_the_end_is_confirmed_when_the_delivery_says_so(tmp_path, delivery, confirmed_by):
    async with Pair(tmp_path, delivery=delivery) as pair, asyncio.TaskGroup() as group:
        await pair.send("one")
        await pair.send(BIG)
        closing = group.create_task(pair.sender.aclose())
        await until(lambda: pair.edge.ended)
        assert bool(pair.listener.receivers) == (confirmed_by != "arrived")
        first, second = await pair.box.take(), await pair.box.take()
        assert bool(pair.listener.receivers) == (confirmed_by == "done")
        first.done()
        second.done()
        assert await closing
        with pytest.raises(ConnectionClosed):
            await pair.box.take()
        with pytest.raises(ConnectionClosed):
            await pair.send("late")
        assert second.value[5] == 5  # the memory outlives its stream
        del first, second


async def test_closing_without_a_receiver_says_so(tmp_path):
    pair = Pair(tmp_path)
    pair.sender._start()
    assert await pair.sender.aclose() is False


async def test_after_a_cut_what_was_not_acknowledged_comes_again_and_only_that(tmp_path):
    async with Pair(tmp_path) as pair:
        done = await pair.pass_on(np.full(MIB // 8, 1))
        await pair.send(np.full(MIB // 8, 2))
        await pair.send("three")
        taken = await pair.box.take()
        pair.receiver.close()
        await until(lambda: pair.edge.live is not None)
        await pair.send(np.full(MIB // 8, 4))
        assert (await pair.box.take()).value == "three"
        assert (await pair.box.take()).value[0] == 4
        assert (done == 1).all()  # nothing was put where the old arrays look
        assert (taken.value == 2).all()
        assert pair.sender.stats().reconnects == 1
        assert pair.edge.stats.duplicates >= 1
        del done, taken


async def test_what_is_acknowledged_while_it_is_sent_again_in_pieces_goes_on_whole(tmp_path):
    async with Pair(tmp_path, memory_bytes=MIB) as pair, asyncio.TaskGroup() as group:
        group.create_task(pair.send(HUGE))
        first = await pair.box.take()
        pair.receiver.close()
        await until(lambda: pair.edge.live is not None and pair.sender._writing.begun is not None)
        first.done()
        pair.receiver._acknowledge()
        await until(lambda: not len(pair.sender._unsettled))
        np.testing.assert_array_equal(await pair.pass_on(BIG), BIG)
        assert pair.edge.stats.duplicates == 1


async def test_a_receiver_that_starts_over_gets_what_it_was_not_done_with(tmp_path):
    async with Pair(tmp_path) as first:
        await first.pass_on("one")
        await first.send(BIG)
        lost = await first.box.take()  # taken, not done
        await until(lambda: len(first.sender._unsettled) == 1)
        await first.listener.aclose()
        async with Pair(tmp_path) as second:
            again = await second.box.take()
            np.testing.assert_array_equal(again.value, BIG)
            again.done()
            del again
            await until(lambda: not len(first.sender._unsettled))
        del lost


async def test_a_sender_that_starts_over_comes_after_what_it_left(tmp_path):
    """The former one's last messages wait in the socket while its queue is full."""
    async with Pair(tmp_path, queue=1) as pair:
        for value in ("1", BIG, "3"):
            await pair.send(value)
        pair.sender.abort()
        other = SharedSender(pair.path, stream=STREAM, input="y", sender="a", timing=FAST)
        try:
            await other.open()
            await other.deliver(Parcel(pack("other"), other.run, 1))
            got = [(await pair.box.take()).value for _ in range(4)]
        finally:
            other.abort()
        assert (got[0], got[2], got[3]) == ("1", "3", "other")
        np.testing.assert_array_equal(got[1], BIG)


async def test_what_nobody_wants_any_more_is_dropped(tmp_path):
    async with Pair(tmp_path, clock=lambda: 100.0) as pair:
        lost = []
        pair.sender.on_lost = lost.append
        await pair.send("late", expires=99.0)
        await pair.send(BIG, expires=99.0, reply_to="q:1")
        assert await pair.pass_on("in time") == "in time"
        assert pair.sender.stats().expired == 2
        assert [(one.number, one.reply_to, one.outcome) for one in lost] == [
            (1, None, "expired"), (2, "q:1", "expired"),
        ]  # fmt: skip
        assert not pair.sender._outgoing.lent


async def test_a_message_over_the_limit_is_refused_here(tmp_path):
    async with Pair(tmp_path) as pair:
        pair.listener.limit_bytes = 1000
        await pair.sender.open()
        with pytest.raises(TransportError, match="limit of 1000"):
            await pair.send("x" * 2000)
        with pytest.raises(TransportError, match="limit of 1000"):
            await pair.send(BIG)
        assert await pair.pass_on("x") == "x"


async def test_another_stream_is_refused(tmp_path):
    async with Pair(tmp_path, stream="c.x>b.y") as pair:
        with pytest.raises(StreamRefused, match=r"is for the stream 'a\.x>b\.y'"):
            await pair.send("x")


async def test_a_socket_that_cannot_be_reached_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    pair = Pair(tmp_path / "file")
    with pytest.raises(TransportError, match="can't connect"):
        await pair.send("x")
    pair.sender.abort()
    with pytest.raises(TransportError, match="can't listen"):
        await pair.listener.open()


async def test_paths_may_be_longer_than_the_kernel_takes(tmp_path):
    folder = tmp_path / ("long" * 25) / ("longer" * 20)
    folder.mkdir(parents=True)
    async with Pair(folder) as pair:
        assert (folder / "s.sock").exists()
        np.testing.assert_array_equal(await pair.pass_on(BIG), BIG)
    assert not list(folder.iterdir())


async def test_a_new_listener_takes_the_place_of_a_dead_one(tmp_path):
    async with Pair(tmp_path) as old, Pair(tmp_path) as new:
        await old.listener.aclose()  # must not take the new one's name away
        assert await new.pass_on("x") == "x"
