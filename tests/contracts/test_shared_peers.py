"""Peers of a shared-memory stream that don't play by the rules."""

from __future__ import annotations

import asyncio
import gc
import os
import socket

import numpy as np
import pytest
from helpers.shared_pair import BIG, FAST, MIB, STREAM, Pair, descriptors, until

from net import wire
from net.messages import Parcel
from net.shared import memory, records
from net.shared.channel import Channel
from net.shared.sender import SharedSender
from net.timing import Timing
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


def raw(pair):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.connect(pair.path)
    sock.setblocking(False)
    return sock


HELLO = records.control(wire.hello(STREAM, "y", "a", run=1, delivery="at-least-once"))


async def answers(sock):
    """All that it says until it closes."""
    loop, said = asyncio.get_running_loop(), []
    async with asyncio.timeout(10):
        while True:
            try:
                data = await loop.sock_recv(sock, 100_000)
            except ConnectionResetError:  # said once; what came before it is still to be read
                continue
            if not data:
                return said
            said.append(data)


def region_of(size=MIB):
    fd, mapped = memory.create(size)
    return fd, mapped


@pytest.mark.parametrize(
    "said",
    [
        [b"GET / HTTP/1.1"], [b"x" * 70_000], [records.head(99)], [HELLO, HELLO],
        [records.head(records.SLOT, 1, 0, 500)],
        [records.head(records.PIECE, 10) + b"x"],
        [HELLO, records.head(records.SLOT, 1, 0, 500)],
        [HELLO, records.head(records.REGION, 1, 2**60)],
        [HELLO, records.head(records.REGION, 1, 4096), records.head(records.MEMORY)],
        [HELLO, records.head(records.REGION, 1, 4096), b"no memory"],
        [HELLO, records.head(records.MEMORY)],
        [HELLO, records.head(records.FORGET, 7)],
        [HELLO, records.head(records.PIECE, 2**40) + b"x"],
        [HELLO, records.head(records.PIECE, 500) + b"\0" * 500],
        [HELLO, records.ack(1, 1, [(1, 1)])],
        [HELLO, records.control(wire.accept(10))],
        [HELLO, records.control(b"")],
    ],
    ids=str,
)  # fmt: skip
async def test_nonsense_ends_its_own_connection_only(tmp_path, said, capsys):
    async with Pair(tmp_path) as pair:
        sock = raw(pair)
        for record in said:
            sock.send(record)
        await answers(sock)
        sock.close()
        told = pair.listener.rubbish.summary()
        peer = f"process {os.getpid()} of user {os.getuid()}"
        line = f"otter: shm at {pair.path}: refused {peer}: {told['reason']}\n"
        assert capsys.readouterr().err == line
        assert (told["refused"], told["peer"], told["transport"]) == (1, peer, "shm")
        assert pair.edge.stats.extra.get("refused", 0) == (said[0] == HELLO)
        assert await pair.pass_on("still there") == "still there"


async def test_what_comes_after_the_last_word_is_not_heard(tmp_path):
    async with Pair(tmp_path) as pair:
        sock = raw(pair)
        for record in (HELLO, records.control(wire.LAST_WORD), records.head(records.PIECE, 1)):
            sock.send(record)
        await answers(sock)
        sock.close()
        assert not pair.listener.rubbish.count
        assert await pair.pass_on("still there") == "still there"


@pytest.mark.parametrize("count", [1, 2, 3])
async def test_descriptors_that_nobody_asked_for_are_closed(tmp_path, count):
    async with Pair(tmp_path) as pair:
        sock = raw(pair)
        before = descriptors()
        socket.send_fds(sock, [HELLO], [0] * count)
        sock.send(records.head(records.REGION, 1, 4096))
        socket.send_fds(sock, [records.head(records.MEMORY)], [0] * count)
        said = await answers(sock)
        assert b"can't be mapped" in said[-1] or b"without its memory" in said[-1]
        assert descriptors() <= before
        sock.close()


async def test_a_sender_may_not_use_a_slot_that_is_still_looked_at(tmp_path):
    async with Pair(tmp_path) as pair:
        sock = raw(pair)
        fd, mapped = region_of()
        data = b"".join(
            wire.encode(Parcel(pack(BIG[:1000]), 1, 1), seq=1, queued=1.0, sent=1.0)
        )  # fmt: skip
        mapped[: len(data)] = data
        sock.send(HELLO)
        sock.send(records.head(records.REGION, 1, MIB))
        socket.send_fds(sock, [records.head(records.MEMORY)], [fd])
        sock.send(records.head(records.SLOT, 1, 0, len(data)))
        message = await pair.box.take()
        sock.send(records.head(records.SLOT, 1, 0, len(data)))
        said = await answers(sock)
        assert b"wasn't given back" in said[-1]
        mapped[:] = b"\xff" * MIB  # afterwards it can spoil values only
        assert message.value[3] == -1
        sock.close()
        os.close(fd)
        mapped.close()
        del message


@pytest.mark.parametrize(
    "array",
    [np.ones(1000, "?"), np.full(1000, "a"), np.ones(1000, [("a", "<f4"), ("b", "?")])],
    ids=["bool", "text", "both"],
)
async def test_content_that_cannot_be_is_refused_however_many_came_before(tmp_path, array):
    """Those like the one before come a shorter way."""
    async with Pair(tmp_path) as pair, asyncio.TaskGroup() as group:
        sock = raw(pair)
        fd, mapped = region_of()
        sock.send(HELLO)
        sock.send(records.head(records.REGION, 1, MIB))
        socket.send_fds(sock, [records.head(records.MEMORY)], [fd])
        for seq in range(1, 5):
            task = group.create_task(pair.box.take())
            await asyncio.sleep(0)  # one turn of the loop: it waits
            data = b"".join(
                wire.encode(Parcel(pack(array), 1, seq), seq=seq, queued=1.0, sent=1.0)
            )  # fmt: skip
            at = seq * MIB // 8
            mapped[at : at + len(data)] = data
            if seq == 4:
                mapped[at + len(data) - array.nbytes : at + len(data)] = b"\xff" * array.nbytes
            sock.send(records.head(records.SLOT, 1, at, len(data)))
            if seq < 4:
                assert (await task).value.tobytes() == array.tobytes()
        said = await answers(sock)
        assert b"an array holds what isn't" in said[-1]
        task.cancel()
        sock.close()
        os.close(fd)
        mapped.close()
        del task


async def test_a_receiver_that_lies_is_cut_off_and_asked_again(tmp_path):
    path = str(tmp_path / "s.sock")
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listening.bind(path)
    listening.listen()
    listening.setblocking(False)
    loop = asyncio.get_running_loop()
    sender = SharedSender(path, stream=STREAM, input="y", sender="a", timing=FAST)
    sender._start()
    try:
        for lie in (records.ack(0, 0, [(1, 0)]), records.control(wire.LAST_WORD), b"x", HELLO):
            sock, _ = await loop.sock_accept(listening)
            assert (await loop.sock_recv(sock, 1000))[:4] == records.MAGIC
            sock.send(records.control(wire.accept(10**6), 10**6))
            sock.send(lie)
            assert await answers(sock) == []
            sock.close()
    finally:
        sender.abort()
        listening.close()
        os.unlink(path)


async def test_a_thousand_connects_and_drops_leave_nothing(tmp_path):
    async with Pair(tmp_path) as pair:
        for _ in range(1000):
            try:
                raw(pair).close()
            except BlockingIOError:
                await asyncio.sleep(0)  # so many wait: the listener has a turn, and another
            await asyncio.sleep(0)
        await until(lambda: not pair.listener.receivers)
        assert await pair.pass_on("x") == "x"


async def test_strangers_that_say_nothing_do_not_keep_others_out_for_long(tmp_path):
    async with Pair(tmp_path) as pair:
        pair.listener.timing = Timing(hello_s=0.05)
        strangers = []
        for _ in range(40):
            strangers.append(raw(pair))
            await asyncio.sleep(0)  # the listener has its turn
        assert await pair.pass_on("x") == "x"
        for sock in strangers:
            sock.close()


async def test_a_peer_that_is_gone_with_words_unread_is_noticed_whatever_was_read_before():
    """The kernel says so once, as an error, after which uvloop looks at the socket no more."""
    closed = asyncio.Event()

    class Owner:
        def on_closed(self):
            closed.set()

    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    channel = Channel(ours, Owner())
    channel._skipped = 5  # as after many turns that found a single record each
    assert channel.push(records.head(records.FORGET, 1))
    theirs.close()
    async with asyncio.timeout(5):
        await closed.wait()
