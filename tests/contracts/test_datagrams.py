"""Streams of datagrams over real sockets on loopback: values, losses, queues, refusals."""

from __future__ import annotations

import asyncio
import random
import socket

import numpy as np
import pytest
from helpers.relay import HERE, Relay

from net import datagram
from net.datagram.fragment import FRAGMENT, HEADER
from net.errors import (
    ConnectionClosed,
    LocalWireError,
    MessageTooLarge,
    StreamRefused,
    TransportError,
)
from net.inbox import Edge, Inbox

pytestmark = pytest.mark.timeout(60)
FAST = datagram.Timing(close_s=0.3)
MTU = datagram.Options(mtu_bytes=1500, deadline_s=30.0)
"""What stands still for a while loses nothing by that."""


@pytest.fixture(autouse=True)
async def no_leaks():
    """Every test leaves no task."""
    yield
    assert asyncio.all_tasks() == {asyncio.current_task()}


def connect(port, options=MTU, **more):
    more = {"input": "y", "sender": "a", "timing": FAST, **more}
    return datagram.connect(HERE, port, options=options, **more)


def listen(**options):
    return datagram.listen(HERE, 0, ["y"], **options)


def losing(ratio, seed):
    chance = random.Random(seed)
    return lambda data: int(chance.random() >= ratio)


VALUES = [
    None, 3, "text", b"bytes", {"a": [1, {"b": "c"}]}, np.float32(2.5),
    np.arange(10), np.zeros((0, 3)), np.array(7, ">i2"), np.arange(12).reshape(3, 4).T,
    {"image": np.ones((480, 640, 3), "u1"), "of": ["x", np.arange(5)]},
    np.arange(400_000, dtype="f8"), b"x" * 100_000, "y" * 100_000,
]  # fmt: skip


@pytest.mark.parametrize("mtu_bytes", [0, 1500, 576])
@pytest.mark.parametrize("fec_ratio", [0.0, 0.25])
async def test_any_value_arrives_as_it_was(mtu_bytes, fec_ratio):
    options = datagram.Options(mtu_bytes=mtu_bytes, fec_ratio=fec_ratio, deadline_s=30.0)
    async with listen() as endpoint, connect(endpoint.port, options) as sender:
        for value in VALUES:
            number = await sender.send(value, reply_to="q:1:1")
            message = await endpoint.inputs["y"].take()
            assert (message.id, message.reply_to, message.source) == (number, "q:1:1", "a")
            np.testing.assert_equal(message.value, value)
            assert message.missing is None
            for array in (v for v in [message.value] if isinstance(v, np.ndarray) and v.size):
                assert array.flags.writeable
                assert array.__array_interface__["data"][0] % 64 == 0
            assert message.made <= message.queued <= message.sent <= message.received


async def test_the_end_is_said_and_heard():
    async with listen() as endpoint:
        sender = connect(endpoint.port)
        async with sender:
            for i in range(20):
                await sender.send(i)
        assert await sender.aclose()
        assert [m.value async for m in endpoint.inputs["y"]] == list(range(20))
    with pytest.raises(ConnectionClosed):
        await sender.send(1)


async def test_many_streams_into_one_input():
    """It ends when all have that have come: so none ends before each has sent."""
    all_sent = asyncio.Barrier(10)
    async with listen() as endpoint:
        async with asyncio.TaskGroup() as group:
            for i in range(10):
                sender = connect(endpoint.port, sender=f"s{i}")
                group.create_task(send_all(sender, [i] * 10, all_sent.wait))
            seen = [m.value async for m in endpoint.inputs["y"]]
        assert sorted(seen) == sorted([i for i in range(10) for _ in range(10)])


async def send_all(sender, values, before_the_end=None):
    async with sender:
        for value in values:
            await sender.send(value)
        if before_the_end is not None:
            await before_the_end()


async def test_an_array_is_the_senders_again_at_once():
    async with listen() as endpoint, connect(endpoint.port) as sender:
        array = np.full(300_000, 7, "u1")
        await sender.send(array)
        array[:] = 9
        assert ((await endpoint.inputs["y"].take()).value == 7).all()


async def test_it_waits_for_a_receiver_that_comes_later():
    async with asyncio.TaskGroup() as group:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as before:
            before.bind((HERE, 0))
            port = before.getsockname()[1]
            group.create_task(send_all(connect(port), ["late"]))
            before.setblocking(False)
            # It has said hello, to nobody who listens.
            await asyncio.get_running_loop().sock_recv(before, 2000)
        async with datagram.listen(HERE, port, ["y"]) as endpoint:
            assert [message.value async for message in endpoint.inputs["y"]] == ["late"]


async def test_a_receiver_that_starts_anew_gets_what_is_sent_from_then_on():
    async with listen() as first:
        port = first.port
        sender = connect(port)
        await sender.open()
        await sender.send(1)
        assert (await first.inputs["y"].take()).value == 1
    async with datagram.listen(HERE, port, ["y"]) as second, asyncio.TaskGroup() as group:
        heard = group.create_task(second.inputs["y"].take())
        async with asyncio.timeout(10):
            while not heard.done():
                await sender.send(2)
                await asyncio.wait([heard], timeout=0.02)
        assert heard.result().value == 2
        second.inputs["y"].discard()
        assert await sender.aclose()
    assert sender.stats().reconnects >= 1


async def test_a_receiver_that_vanishes_is_not_waited_for_at_the_end():
    async with listen() as endpoint:
        sender = connect(endpoint.port)
        await sender.open()
    assert await sender.aclose() is False


# --- losses --------------------------------------------------------------------------------------


@pytest.mark.parametrize("fec_ratio", [0.0, 0.25])
async def test_losses_both_ways_are_made_good(fec_ratio):
    options = datagram.Options(mtu_bytes=1500, fec_ratio=fec_ratio, deadline_s=10.0)
    value = np.random.default_rng(1).integers(0, 256, 100 * 1024, np.uint8)
    async with listen() as endpoint, Relay(endpoint.port, losing(0.05, 1), losing(0.05, 2)) as r:
        sender = connect(r.port, options)
        async with asyncio.TaskGroup() as group:
            group.create_task(send_all(sender, [value] * 30))
            got = [m async for m in endpoint.inputs["y"]]
        assert len(got) == 30
        assert all(np.array_equal(m.value, value) for m in got)
        counts = endpoint.inputs["y"].edges["a>y"].stats.extra
        assert counts["recovered" if fec_ratio else "retransmitted"] > 0
        assert counts["lost"] == 0


async def test_repeated_and_late_datagrams_deliver_nothing_twice():
    async with listen() as endpoint, Relay(endpoint.port, lambda data: 2, lambda data: 2) as r:
        sender = connect(r.port)
        async with asyncio.TaskGroup() as group:
            group.create_task(send_all(sender, range(50)))
            got = [m.value async for m in endpoint.inputs["y"]]
        assert sorted(got) == list(range(50))
        assert endpoint.inputs["y"].edges["a>y"].stats.extra["duplicate"] >= 40


async def test_what_is_lost_for_good_comes_with_zeros_and_a_mask():
    options = datagram.Options(mtu_bytes=1500, retransmit=False, partial=True, deadline_s=1.0)
    value = np.ones((10, 1000), "f4")

    def third(data):
        return int(data[3] != FRAGMENT or HEADER.unpack_from(data)[13] != 2)

    async with listen() as endpoint, Relay(endpoint.port, third) as relay:
        sender = connect(relay.port, options)
        async with sender:
            await sender.send(value)
            message = await endpoint.inputs["y"].take()
        mask = message.missing
        assert (mask.shape, mask.dtype) == (value.shape, np.bool_)
        assert 0 < mask.sum() <= 1424 // 4 + 1
        assert (message.value[mask] == 0).all()
        assert (message.value[~mask] == 1).all()


@pytest.mark.parametrize("lost", [0, 1])
async def test_of_a_message_without_its_beginning_nothing_is_delivered(lost):
    """Fragment 0 has the metadata; of the text in fragment 1 zeros would be made up."""
    options = datagram.Options(mtu_bytes=1500, retransmit=False, partial=True, deadline_s=0.1)

    def some(data):
        return int(data[3] != FRAGMENT or HEADER.unpack_from(data)[13] != lost)

    async with listen() as endpoint, Relay(endpoint.port, some) as relay:
        async with connect(relay.port, options) as sender:
            await sender.send(["t" * 20_000, np.ones(10_000)])
        assert [m async for m in endpoint.inputs["y"]] == []
        counts = endpoint.inputs["y"].edges["a>y"].stats.extra
        assert (counts["lost"], counts["refused"]) == (0, 1) or counts["lost"] == 1


# --- queues --------------------------------------------------------------------------------------


async def test_block_holds_the_sender_back_and_loses_nothing():
    async with listen(queue=4) as endpoint:
        sender = connect(endpoint.port)
        async with asyncio.TaskGroup() as group:
            group.create_task(send_all(sender, [np.zeros(100_000, "u1")] * 100))
            inbox = endpoint.inputs["y"]
            count = 0
            async for _ in inbox:
                count += 1
                for _ in range(20):  # a module that is slower than what comes
                    await asyncio.sleep(0)
        assert count == 100
        assert inbox.edges["a>y"].stats.dropped == 0


async def test_latest_keeps_the_newest():
    async with listen(policy="latest") as endpoint, connect(endpoint.port, policy="latest") as s:
        for i in range(200):
            await s.send(i)
        inbox = endpoint.inputs["y"]
        last = -1
        async with asyncio.timeout(10):
            while last != 199:
                last = (await inbox.take()).value
        assert s.stats().dropped + inbox.edges["a>y"].stats.dropped > 0


async def test_what_nobody_wants_any_more_does_not_leave():
    async with listen() as endpoint, connect(endpoint.port) as sender:
        told = []
        sender.on_lost = lambda lost: told.append((lost.number, lost.outcome))
        await sender.send("old", within_s=-1.0)
        await sender.send("new")
        assert (await endpoint.inputs["y"].take()).value == "new"
        assert sender.stats().expired == 1
        assert told == [(1, "expired")]


async def test_a_cancelled_send_leaves_the_stream_whole():
    slow = datagram.Options(mtu_bytes=1500, rate_bps=50e6, deadline_s=30.0)
    values = [np.full(20_000, i, "u1") for i in range(30)]
    async with listen(queue=50) as endpoint:
        async with connect(endpoint.port, slow) as sender, asyncio.TaskGroup() as group:
            tasks = [group.create_task(sender.send(value)) for value in values]
            await endpoint.inputs["y"].take()
            for task in tasks[10:20]:
                task.cancel()
        got = [int(m.value[0]) async for m in endpoint.inputs["y"]]
    assert all(task.cancelled() for task in tasks[10:20])
    assert sorted(got) == [*range(1, 10), *range(20, 30)]


# --- refusals ------------------------------------------------------------------------------------


async def test_an_unknown_input_is_refused_by_name():
    async with listen() as endpoint:
        with pytest.raises(StreamRefused, match=r"no input 'z' here \(it has y\)"):
            await connect(endpoint.port, input="z").open()


async def test_a_stream_comes_from_its_own_address_only():
    inbox = Inbox("y", [Edge("a>y", source="127.0.0.9")])
    async with datagram.Endpoint([(HERE, 0)], [inbox]) as endpoint:
        sender = connect(endpoint.port)
        with pytest.raises(StreamRefused, match=r"doesn't come from 127\.0\.0\.1"):
            await sender.open()
        sender.abort()


async def test_a_value_that_is_too_large_is_refused_here():
    async with listen(limit_bytes=10_000) as endpoint, connect(endpoint.port) as sender:
        with pytest.raises(MessageTooLarge):
            await sender.send(np.zeros(20_000, "u1"))
        with pytest.raises(LocalWireError):
            await sender.send(object())
        await sender.send("fine")
        assert (await endpoint.inputs["y"].take()).value == "fine"


async def test_a_port_that_is_taken_is_named():
    async with listen() as endpoint:
        with pytest.raises(TransportError, match=f"{HERE}:{endpoint.port}: can't listen"):
            await datagram.listen(HERE, endpoint.port, ["y"]).open()


@pytest.mark.usefixtures("unknown_names")
async def test_an_address_that_is_none_is_named():
    with pytest.raises(TransportError, match="can't send to nowhere"):
        await datagram.connect("nowhere.invalid", 9, input="y", sender="a").open()
