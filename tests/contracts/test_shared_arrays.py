"""Arrays that are like the one before, through shared memory: their shorter way, honest and not."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys
import threading

import numpy as np
import pytest
from helpers.shared_pair import MIB, STREAM, Pair, descriptors, until

from net import wire
from net.header import HEADER
from net.messages import Parcel
from net.shared import memory, records
from net.values import pack

pytestmark = pytest.mark.timeout(30)
ARRAY = np.arange(9000.0).reshape(90, 100)
AT = 256 * 1024
HELLO = records.control(wire.hello(STREAM, "y", "a", run=1, delivery="at-least-once"))


@pytest.fixture(autouse=True)
async def no_leaks():
    gc.collect()
    before = descriptors()
    yield
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert descriptors() == before


def encoded(array=ARRAY, seq=1, made=1.0):
    parcel = Parcel(pack(array), run=1, number=seq, made=made)
    return b"".join(wire.encode(parcel, seq=seq, queued=2.0, sent=3.0))


LENGTH = len(encoded())


class Sender:
    """By hand; its first array has come, and its receiver waits for the next."""

    def __init__(self, pair):
        self.pair = pair
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.fd, self.memory = memory.create(MIB)
        self.group = asyncio.TaskGroup()

    async def __aenter__(self):
        self.sock.connect(self.pair.path)
        self.sock.setblocking(False)
        self.sock.send(HELLO)
        self.sock.send(records.head(records.REGION, 1, MIB))
        socket.send_fds(self.sock, [records.head(records.MEMORY)], [self.fd])
        self.put(encoded(), 0)
        self.say(0, LENGTH)
        self.first = await self.pair.box.take()
        await self.group.__aenter__()
        self.task = self.group.create_task(self.pair.box.take())
        await asyncio.sleep(0)  # one turn of the loop: it waits
        return self

    async def __aexit__(self, *error):
        self.task.cancel()
        await self.group.__aexit__(None, None, None)
        self.sock.close()
        os.close(self.fd)
        self.memory.close()
        del self.first

    def put(self, data, at):
        self.memory[at : at + len(data)] = data

    def say(self, at, length, region=1):
        self.sock.send(records.head(records.SLOT, region, at, length))

    async def answers(self):
        said = []
        async with asyncio.timeout(10):
            while True:
                try:
                    data = await asyncio.get_running_loop().sock_recv(self.sock, 100_000)
                except ConnectionResetError:
                    continue
                if not data:
                    return said
                said.append(data)


async def test_it_is_the_senders_memory_with_its_story(tmp_path):
    async with Pair(tmp_path) as pair, Sender(pair) as sender:
        sender.put(encoded(ARRAY + 1, seq=2), AT)
        sender.say(AT, LENGTH)
        message = await sender.task
        np.testing.assert_equal(message.value, ARRAY + 1)
        assert (message.value.dtype, message.value.flags.writeable) == (ARRAY.dtype, False)
        with pytest.raises(ValueError):
            message.value.flags.writeable = True
        assert message.value.__array_interface__["data"][0] % 64 == 0
        assert (message.seq, message.run, message.number, message.reply_to) == (2, 1, 2, None)
        assert (message.made, message.queued, message.sent, message.expires) == (1.0, 2.0, 3.0, 0.0)
        assert (message.source, message.stream, message.size_bytes) == ("a", STREAM, LENGTH)
        assert message.sent < message.received <= message.taken
        sender.memory[AT + LENGTH - 8 : AT + LENGTH] = b"\xff" * 8
        assert np.isnan(message.value[-1, -1])
        assert pair.edge.stats.messages == 2


async def test_its_place_is_given_back_with_the_last_view_in_whatever_thread(tmp_path):
    async with Pair(tmp_path) as pair, Sender(pair) as sender:
        sender.put(encoded(seq=2), AT)
        sender.say(AT, LENGTH)
        message = await sender.task
        message.done()
        views = [message.value[5:, ::2].T, memoryview(message.value)]
        del message
        sender.task = sender.group.create_task(pair.box.take())  # what it gave goes
        await asyncio.sleep(0)  # one turn of the loop: it waits
        assert pair.receiver.lent == 2
        assert views[0][0, 0] == views[1][5, 0] == 500
        thread = threading.Thread(target=views.clear)
        thread.start()
        thread.join()
        assert pair.receiver.lent == 1
        given_back = b""
        while not given_back:
            said = await asyncio.get_running_loop().sock_recv(sender.sock, 1000)
            head = records.read_head(said, len(said))
            given_back = said[records.HEAD_BYTES :] if head[0] == records.ACK else b""
        assert records.read_released(head, given_back) == ((1, AT),)
        assert head[2] == 2  # taken


async def test_many_at_once_wait_in_order(tmp_path):
    async with Pair(tmp_path) as pair, Sender(pair) as sender:
        for seq in range(2, 5):
            sender.put(encoded(ARRAY + seq, seq=seq), (seq - 1) * AT)
            sender.say((seq - 1) * AT, LENGTH)
        got = [await sender.task, await pair.box.take(), await pair.box.take()]
        assert [message.value[0, 0] for message in got] == [2, 3, 4]
        assert [message.seq for message in got] == [2, 3, 4]
        del got


@pytest.mark.parametrize("other", [ARRAY.astype("f4"), ARRAY.reshape(-1), {"a": ARRAY}, ARRAY.T])
async def test_one_that_is_not_like_it_is_looked_at_anew(tmp_path, other):
    async with Pair(tmp_path) as pair, Sender(pair) as sender:
        data = encoded(other, seq=2)
        sender.put(data, AT)
        sender.say(AT, len(data))
        message = await sender.task
        np.testing.assert_equal(message.value, other)
        del message


@pytest.mark.parametrize("waits", [False, True])
async def test_nothing_is_left_of_many(tmp_path, waits):
    """A count of references that is one off shows in two hundred."""
    async with Pair(tmp_path) as pair:
        for _ in range(3):
            await pair.pass_on(ARRAY)
        end, incoming = pair.receiver, pair.receiver._incoming
        kind = type(await _passed(pair, waits))
        things = (end, incoming, end._scratch, pair.box, kind, ARRAY.dtype, None, False)
        gc.collect()
        before = [sys.getrefcount(each) for each in things]
        for _ in range(200):
            await _passed(pair, waits)
        gc.collect()
        after = [sys.getrefcount(each) for each in things]
        assert all(abs(one - other) < 100 for one, other in zip(before, after, strict=True))
        del end, incoming, things


async def _passed(pair, waits):
    async with asyncio.TaskGroup() as group:
        task = group.create_task(pair.box.take())
        if waits:
            await asyncio.sleep(0)  # one turn of the loop: it does
        await pair.send(ARRAY)
    message = task.result()
    message.done()
    return message


async def test_arrays_outlive_the_connection_and_the_receiver(tmp_path):
    async with Pair(tmp_path) as pair:
        async with Sender(pair) as sender:
            sender.put(encoded(seq=2), AT)
            sender.say(AT, LENGTH)
            value = (await sender.task).value
        await until(lambda: not pair.listener.receivers)
        np.testing.assert_equal(value, ARRAY)
    np.testing.assert_equal(value, ARRAY)
    del value


def _spoilt(at, data):
    found = bytearray(encoded(seq=2))
    found[at : at + len(data)] = data
    return bytes(found)


@pytest.mark.parametrize(
    ("data", "at", "length", "region"),
    [
        (encoded(seq=2), AT, LENGTH, 2),
        (encoded(seq=2), AT + 8, LENGTH, 1),
        (encoded(seq=2), MIB - 64, LENGTH, 1),
        (encoded(seq=2), MIB, LENGTH, 1),
        (encoded(seq=2), 2**64 - 64, LENGTH, 1),
        (encoded(seq=2), AT, 2**64 - 64, 1),
        (encoded(seq=2), AT, 2**64 - AT, 1),
        (encoded(seq=2), AT, MIB - AT + 64, 1),
        (encoded(seq=2), AT, LENGTH - 1, 1),
        (encoded(seq=2), AT, LENGTH + 64, 1),
        (encoded(seq=2), AT, HEADER.size - 1, 1),
        (encoded(seq=2), AT, HEADER.size, 1),
        (encoded(seq=2), 0, LENGTH, 1),  # not given back
        (encoded(seq=0), AT, LENGTH, 1),
        (encoded(seq=2, made=float("nan")), AT, LENGTH, 1),
        (encoded(seq=2, made=1e16), AT, LENGTH, 1),
        (_spoilt(0, b"OTTX"), AT, LENGTH, 1),
        (_spoilt(6, b"\x09"), AT, LENGTH, 1),
        (_spoilt(7, b"\xf0"), AT, LENGTH, 1),
        (_spoilt(8, b"\xff" * 4), AT, LENGTH, 1),
        (_spoilt(12, b"\xff" * 8), AT, LENGTH, 1),
        (_spoilt(20, b"\xff" * 2), AT, LENGTH, 1),
        (_spoilt(HEADER.size, b"{"), AT, LENGTH, 1),
    ],
)
async def test_lies_about_one_that_seems_like_it_are_found(tmp_path, data, at, length, region):
    async with Pair(tmp_path) as pair, Sender(pair) as sender:
        sender.put(data, at if at + len(data) <= MIB and at else AT)
        sender.say(at, length, region)
        said = await sender.answers()
        assert b"reason" in said[-1]
        assert not sender.task.done()
        sender.task.cancel()
        del sender.first
        sender.first = None
        assert await pair.pass_on("still there") == "still there"
