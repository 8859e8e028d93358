"""Lives that follow each other: senders that start over, answers that never leave, leavers."""

from __future__ import annotations

import asyncio
import itertools
import socket

import numpy as np
import pytest
from helpers.queueing import queued
from helpers.shared_pair import BIG, STREAM, Pair, until

from net import stream, wire
from net.errors import MessageTooLarge, StreamRefused
from net.inbox import Inbox
from net.mesh import Mesh
from net.messages import Parcel
from net.shared.sender import SharedSender
from net.tcp.listener import Listener
from net.values import pack
from net.wiring import StreamEnd, Wiring

HERE = "127.0.0.1"
FAST = stream.Timing(first_retry_s=0.005, longest_retry_s=0.02, close_s=0.3)
pytestmark = pytest.mark.timeout(30)


@pytest.fixture(autouse=True)
async def no_leaks():
    """Every test leaves no task."""
    yield
    assert asyncio.all_tasks() == {asyncio.current_task()}


def connect(port, **options):
    return stream.connect(HERE, port, input="y", sender="a", timing=FAST, **options)


def listen(**options):
    return stream.listen(HERE, 0, ["y"], timing=FAST, **options)


async def fill(out, listener):
    """Send until the receiver reads no more."""
    for number in itertools.count():
        await out.send(f"old {number}")
        await asyncio.sleep(0.001)  # its other end has a turn; that it holds back nobody tells
        if any(connection._held for connection in listener.connections):
            return


async def test_a_sender_that_starts_over_while_much_of_it_waits_loses_nothing_of_its_new_life():
    async with listen(queue=1) as listener:
        former = connect(listener.port)
        await former.open()
        await fill(former, listener)
        former.abort()
        await former.aclose()

        out = connect(listener.port)
        await out.open()

        async def send():
            for number in range(20):
                await out.send(f"new {number}")
            assert await out.aclose()

        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            group.create_task(send())
            got = [message.value async for message in listener.inputs["y"]]
        assert [value for value in got if value.startswith("new")] == [
            f"new {n}" for n in range(20)
        ]


async def test_a_sender_that_starts_over_and_over_fills_no_more_than_its_queue():
    async with listen(queue=2) as listener:
        inbox = listener.inputs["y"]
        for _ in range(5):
            out = connect(listener.port)
            await out.open()
            for number in range(2):
                await out.send(number)
                await asyncio.sleep(0)  # both ends are in this loop: the other one has its turn
            await queued(inbox, lambda: len(inbox._items) >= 2)
            out.abort()
            await out.aclose()
        async with connect(listener.port) as out, asyncio.timeout(10):
            await out.send("last")
            assert len(inbox._items) == 2
            while (await inbox.take()).value != "last":
                assert len(inbox._items) <= 2


async def test_the_same_through_shared_memory(tmp_path):
    async with Pair(tmp_path, queue=2) as pair:
        for life in range(5):
            out = SharedSender(pair.path, stream=STREAM, input="y", sender="a", timing=FAST)
            await out.open()
            for number in range(2):
                await out.deliver(Parcel(pack(f"{life} {number}"), out.run, number))
            await queued(pair.box, lambda: len(pair.box._items) >= 2)
            out.abort()
        assert len(pair.listener.receivers) <= 2
        await pair.send("last")
        async with asyncio.timeout(10):
            while (await pair.box.take()).value != "last":
                assert len(pair.box._items) <= 2


async def test_a_sender_that_reconnects_again_and_again_piles_up_no_connections():
    """None of which is read from, as the module takes nothing."""
    async with listen(queue=1) as listener:
        for life in range(6):
            out = connect(listener.port)
            await out.open()
            if life == 0:
                await fill(out, listener)
            await out.send("x")
            out.abort()
            await out.aclose()
        await until(lambda: len(listener.connections) <= 2)
        async with connect(listener.port) as out, asyncio.timeout(10):
            await out.send("last")
            while (await listener.inputs["y"].take()).value != "last":
                pass


@pytest.mark.parametrize("transport", ["tcp", "shm"])
async def test_what_could_not_be_sent_before_the_end_is_not_called_settled(tmp_path, transport):
    """Else the message that it answers would be acknowledged, and nobody had the answer."""
    settled = []
    if transport == "tcp":
        async with listen() as listener:
            inbox = listener.inputs["y"]
            inbox.by_hand = True
            out = connect(listener.port, delivery="exactly-once")
            await out.open()
            await out.deliver(Parcel(pack(1), out.run, 1), lambda: settled.append(1))
            await inbox.take()
            out.abort()
            await out.aclose()
    else:
        async with Pair(tmp_path, delivery="exactly-once") as pair:
            out = pair.sender
            for number, value in enumerate((1, BIG)):
                parcel = Parcel(pack(value), out.run, number)
                await out.deliver(parcel, lambda: settled.append(1))
                await pair.box.take()
            out.abort()
    assert settled == []


async def test_the_array_of_a_cancelled_send_may_change_at_once():
    """Half of it is on its way: the rest goes out as it was."""
    array = np.zeros(32 * 2**20, np.uint8)
    async with listen(queue=1) as listener, connect(listener.port) as out:
        inbox = listener.inputs["y"]
        await out.send("first")
        await queued(inbox, lambda: len(inbox._items) == 1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await out.send(array)
        array[:] = 255
        assert (await inbox.take()).value == "first"
        value = (await inbox.take()).value
        assert value.min() == value.max() == 0


class Chain:
    """A module that answers: what asks it, and what takes its answers."""

    def __init__(self, limit_bytes=2**20):
        self.answers = Inbox("y")
        self.answers.by_hand = True
        self.taker = Listener([(HERE, 0)], [self.answers], limit_bytes, FAST)

    async def __aenter__(self):
        await self.taker.open()
        with socket.socket() as sock:
            sock.bind((HERE, 0))
            port = sock.getsockname()[1]
        end = StreamEnd("a>b.x", "x", "a", HERE, port, delivery="exactly-once")
        to = StreamEnd("b.y>c.y", "y", "c", HERE, self.taker.port, delivery="exactly-once")
        self.mesh = await Mesh(Wiring("m", "b", "h", HERE, (end,), (to,)), timing=FAST).__aenter__()
        options = {"stream": "a>b.x", "input": "x", "sender": "a", "timing": FAST}
        self.asker = stream.connect(HERE, port, delivery="exactly-once", **options)
        await self.asker.open()
        return self

    async def __aexit__(self, *error):
        self.asker.abort()
        await self.asker.aclose()
        await self.mesh.__aexit__(None, None, None)
        await self.taker.aclose()


async def test_an_answer_that_cannot_be_sent_holds_up_no_question_for_ever():
    async with Chain(limit_bytes=100_000) as chain, asyncio.timeout(10):
        await chain.asker.send("question")
        question = await chain.mesh.input("x").receive()
        with pytest.raises(MessageTooLarge):
            await chain.mesh.output("y").send(bytes(200_000), reply_to=question)
        chain.mesh.input("x").receive_now()  # the module goes on
        await chain.asker.flush()


async def test_nor_does_one_whose_sending_was_cancelled():
    async with Chain() as chain, asyncio.timeout(10):
        await chain.taker.aclose()  # nobody takes answers
        await until(lambda: not chain.mesh._outlets[next(iter(chain.mesh._outlets))]._limit_bytes)
        await chain.asker.send("question")
        question = await chain.mesh.input("x").receive()
        waiting = asyncio.timeout(0.01)
        with pytest.raises(TimeoutError):
            async with waiting:
                await chain.mesh.output("y").send("answer", reply_to=question)
        assert chain.asker.stats().waiting == 1
        chain.mesh.input("x").receive_now()
        await chain.asker.flush()


async def test_a_receiver_that_ends_in_order_is_done_with_what_it_took_from_shared_memory(tmp_path):
    async with Pair(tmp_path) as pair:
        await pair.pass_on("first")
        assert pair.sender.stats().waiting == 1  # it hasn't been said yet
        await pair.listener.aclose()
        await until(lambda: pair.sender.stats().waiting == 0)


async def test_names_that_peers_invent_do_not_pile_up(monkeypatch):
    monkeypatch.setattr("net.inbox.MOST_STREAMS", 4)
    async with listen() as listener:
        inbox = listener.inputs["y"]
        for number in range(10):
            async with connect(listener.port, stream=f"s{number}") as out:
                await out.send(number)
                assert (await inbox.take()).value == number
        assert len(inbox.edges) == 4
        async with asyncio.TaskGroup() as group:
            outs = [connect(listener.port, stream=f"live {n}") for n in range(4)]
            for out in outs:
                await out.open()
            late = connect(listener.port, stream="one too many")
            with pytest.raises(StreamRefused, match="has 4 streams already"):
                await late.open()
            await late.aclose()
            for out in outs:
                group.create_task(out.aclose())


async def test_strangers_cannot_use_up_the_descriptors(monkeypatch):
    monkeypatch.setattr("net.tcp.listener.MOST_STRANGERS", 5)
    async with listen() as listener:
        strangers = [await asyncio.open_connection(HERE, listener.port) for _ in range(8)]
        for reader, _ in strangers[:3]:
            assert await reader.read() == b""  # the oldest have had to go
        assert len(listener.connections) == 5
        async with connect(listener.port) as out:
            await out.send("still here")
            assert (await listener.inputs["y"].take()).value == "still here"
        for _, writer in strangers:
            writer.transport.abort()
        await until(lambda: not listener.connections)


async def test_repetitions_of_a_message_that_is_at_work_hold_no_memory():
    async with listen() as listener, connect(listener.port, delivery="exactly-once") as out:
        inbox = listener.inputs["y"]
        inbox.by_hand = True
        for _ in range(3):
            await out.deliver(Parcel(pack(np.zeros(10)), 7, 7), None)
        message = await inbox.take()
        await until(lambda: len(message.twins) == 2)
        assert [twin.value for twin in message.twins] == [None, None]
        message.done()
        await out.flush()


async def test_a_peer_that_reads_no_acknowledgements_makes_us_keep_none():
    async with listen() as listener:
        peer = socket.socket()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        peer.setblocking(False)
        loop, inbox = asyncio.get_running_loop(), listener.inputs["y"]
        await loop.sock_connect(peer, (HERE, listener.port))
        await loop.sock_sendall(peer, wire.hello("s", "y", "a", run=1, delivery="at-least-once"))
        await until(lambda: inbox.edges)
        (connection,) = listener.connections
        connection._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2048)
        inbox.on_message = lambda message: None
        for first in range(1, 5001, 100):
            said = [
                wire.encode(
                    Parcel(pack(b""), 1, n), seq=n, queued=0.0, sent=0.0, flags=wire.URGENT
                )[0]
                for n in range(first, first + 100)
            ]
            await loop.sock_sendall(peer, b"".join(said))
        await until(lambda: connection._progress.done == 5000)
        assert len(connection._rest) < 10
        said = b""
        while not said.endswith(wire.ack(5000)):  # the newest comes as soon as there is room
            said += await loop.sock_recv(peer, 65536)
        peer.close()
        await until(lambda: not listener.connections)


async def test_what_comes_while_a_module_fails_is_left_to_its_next_life(tmp_path):
    """Though its streams don't end at the very same moment."""
    with socket.socket() as sock:
        sock.bind((HERE, 0))
        port = sock.getsockname()[1]
    path = str(tmp_path / "s")
    ends = (
        StreamEnd("a>b.x", "x", "a", HERE, port),
        StreamEnd(STREAM, "y", "a", HERE, 1, "shm", path=path),
    )
    wiring = Wiring("m", "b", "h", HERE, ends)
    async with asyncio.timeout(10):
        mesh = await Mesh(wiring, timing=FAST).__aenter__()
        options = {"stream": "a>b.x", "input": "x", "sender": "a", "timing": FAST}
        async with stream.connect(HERE, port, **options):
            out = SharedSender(path, stream=STREAM, input="y", sender="a", timing=FAST)
            await out.open()
            for number in range(10):
                await out.deliver(Parcel(pack(number), out.run, number))
            error = RuntimeError("the module fails")
            await mesh.__aexit__(RuntimeError, error, None)
            async with Mesh(wiring, timing=FAST) as mesh_again:
                assert (await mesh_again.input("y").receive()).value == 0
            out.abort()
