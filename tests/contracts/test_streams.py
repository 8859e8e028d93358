"""Streams over real TCP on loopback: delivery, back-pressure, cuts, refusals, hostile peers."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress

import numpy as np
import pytest

from net import OTTER_WIRE_VERSION, stream, wire
from net.errors import ConnectionClosed, MessageTooLarge, StreamRefused
from net.inbox import Edge
from net.messages import Parcel
from net.tcp.reader import Reader
from net.values import pack

HERE = "127.0.0.1"
BIG = np.arange(512 * 1024)  # 4 MiB: a few of them are more than the kernel buffers
ELSEWHERE = "127.0.0.2"
FAST = stream.Timing(first_retry_s=0.005, longest_retry_s=0.02, close_s=0.2)


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


def sender(port, name="a.x>b.y", **options):
    return stream.Sender(
        HERE, port, stream=name, input="y", sender="a", timing=FAST, **options
    )  # fmt: skip


class RawPeer:
    """The other end by hand: a plain socket and the codec."""

    def __init__(self, reader, writer):
        self.reader, self.writer, self.wire = reader, writer, Reader()

    async def event(self):
        while (event := self.wire.next_event()) is None:
            data = await self.reader.read(1000)
            if not data:
                return None
            buffer = self.wire.get_buffer()
            buffer[: len(data)] = data
            self.wire.buffer_updated(len(data))
        return event

    async def eof(self):
        """Whether the other side closes without another word."""
        try:
            return await self.reader.read(1) == b""
        except ConnectionResetError:
            return True

    async def reset(self):
        """Cut, so that the other side's kernel says so."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await self.close()

    async def close(self):
        self.writer.close()
        with suppress(ConnectionResetError):
            await self.writer.wait_closed()


async def raw_client(port, *said, source=HERE):
    peer = RawPeer(*await asyncio.open_connection(HERE, port, local_addr=(source, 0)))
    peer.writer.write(b"".join(said))
    return peer


def damaged(message):
    """With flags that there aren't."""
    return message[:7] + bytes([99]) + message[8:]


def rubbish(listener):
    """What its counters say of the last one."""
    told = listener.rubbish.summary()
    assert (told["transport"], told["refused"], told["peer"]) == ("tcp", 1, HERE)
    return told["reason"]


def encoded(value, seq=1):
    parcel = Parcel(pack(value), 7, seq, made=1.0)
    return b"".join(wire.encode(parcel, seq=seq, queued=1.0, sent=2.0))


async def test_values_arrive_in_order_with_their_story():
    values = ["text", {"a": [1, None, b"x"], "image": np.ones((3, 4), np.uint8)}, 1.5, BIG]
    async with (
        stream.listen(HERE, 0, ["y"]) as listener,
        stream.connect(HERE, listener.port, input="y", sender="a") as out,
    ):
        ids = [await out.send(value, reply_to="q:1") for value in values]
        got = [await listener.inputs["y"].take() for _ in values]
    assert [m.id for m in got] == ids
    assert got[1].value["a"] == [1, None, b"x"]
    np.testing.assert_array_equal(got[3].value, BIG)
    for m in got:
        assert (m.source, m.stream, m.reply_to) == ("a", "a>y", "q:1")
        assert m.made <= m.sent <= m.received <= m.taken


async def test_received_arrays_are_the_modules_own():
    async with (
        stream.listen(HERE, 0, ["y"]) as listener,
        stream.connect(HERE, listener.port, input="y", sender="a") as out,
    ):
        for array in (BIG, np.ones(3)):
            await out.send(array)
            got = (await listener.inputs["y"].take()).value
            got += 1
            assert got.__array_interface__["data"][0] % 64 == 0


async def test_an_array_may_change_once_it_is_sent():
    array = np.zeros(4 * 2**20, np.uint8)

    async def send(out):
        for number in range(5):
            array[:] = number
            await out.send(array)

    async with (
        stream.listen(HERE, 0, ["y"], queue=1) as listener,
        stream.connect(HERE, listener.port, input="y", sender="a") as out,
        asyncio.TaskGroup() as group,
    ):
        group.create_task(send(out))
        for number in range(5):
            value = (await listener.inputs["y"].take()).value
            assert value.min() == value.max() == number


async def test_the_sender_waits_until_the_receiver_is_there():
    port = free_port()
    out = sender(port)
    async with asyncio.TaskGroup() as group:
        sending = group.create_task(out.send("early"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await asyncio.shield(sending)
        async with stream.listen(HERE, port, ["y"]) as listener:
            assert (await listener.inputs["y"].take()).value == "early"
            await sending
            assert await out.aclose()


async def test_a_full_queue_blocks_the_sender_and_loses_nothing():
    async with stream.listen(HERE, 0, ["y"], queue=2) as listener:
        inbox, out, sent = listener.inputs["y"], sender(listener.port), []
        await out.open()
        with suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                while len(sent) < 100:
                    await out.send(BIG + len(sent))
                    sent.append(len(sent))
        assert len(sent) < 20  # 80 MB: more than queue and sockets hold, of 32 MiB at most
        # The one that was cut short by the deadline had begun to go out, so it comes whole, too.
        async with asyncio.TaskGroup() as group:
            group.create_task(out.send("last"))
            got = [await inbox.take() for _ in [*sent, "begun"]]
            assert [int(m.value[0]) for m in got] == [*sent, len(sent)]
            np.testing.assert_array_equal(got[-1].value, BIG + len(sent))
            assert (await inbox.take()).value == "last"
        assert await out.aclose()


async def test_a_cancelled_send_is_whole_or_nothing_also_at_the_end():
    async with stream.listen(HERE, 0, ["y"]) as listener:
        inbox, out, large = listener.inputs["y"], sender(listener.port), np.arange(8 * 2**20)
        await out.open()
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(out.send(large))
            while not out._connection._rest:  # one turn of the loop: it has begun
                await asyncio.sleep(0)
            sending.cancel()
        async with asyncio.TaskGroup() as group:
            group.create_task(out.aclose())
            (got,) = [m async for m in inbox]
        np.testing.assert_array_equal(got.value, large)


async def test_many_small_messages_stay_within_the_queue():
    async with stream.listen(HERE, 0, ["y"], queue=3) as listener:
        inbox, out = listener.inputs["y"], sender(listener.port)
        for number in range(200):
            await out.send(number)
        await inbox.take()
        assert len(inbox._items) <= 3
        assert [(await inbox.take()).value for _ in range(199)] == list(range(1, 200))
        assert await out.aclose()


async def test_an_input_ends_when_all_its_streams_have_ended():
    box = stream.Inbox("y", [Edge("a.x>b.y", 1), Edge("c.x>b.y", 1)])
    async with stream.Listener([(HERE, 0)], [box]) as listener:
        first, second = sender(listener.port), sender(listener.port, "c.x>b.y")
        async with asyncio.TaskGroup() as group:

            async def send():
                await first.send(1)
                assert await first.aclose()
                await second.send(2)
                assert await second.aclose()
                assert await second.aclose()

            group.create_task(send())
            assert [m.value async for m in box] == [1, 2]
        with pytest.raises(ConnectionClosed, match="'y' has ended"):
            await box.take()
        with pytest.raises(ConnectionClosed):
            await first.send(3)


async def test_closing_waits_for_a_slow_receiver():
    async with stream.listen(HERE, 0, ["y"], queue=1) as listener:
        out = sender(listener.port)
        for number in range(10):
            await out.send(number)
        async with asyncio.TaskGroup() as group:
            closing = group.create_task(out.aclose())
            with pytest.raises(TimeoutError):  # longer than close_s: the receiver is there
                async with asyncio.timeout(2 * FAST.close_s):
                    await asyncio.shield(closing)
            assert [m.value async for m in listener.inputs["y"]] == list(range(10))
        assert closing.result()


async def test_closing_gives_up_on_a_receiver_that_is_not_there():
    assert not await sender(free_port()).aclose()


async def test_the_sender_comes_back_after_the_receiver_restarts():
    port = free_port()
    out = sender(port)
    for number in range(3):
        async with stream.listen(HERE, port, ["y"]) as listener:
            async with asyncio.TaskGroup() as group:
                group.create_task(out.send(number))
                assert (await listener.inputs["y"].take()).value == number
            connection = out._connection
        await connection.wait_closed()
    out.abort()
    assert not await out.aclose()


async def test_a_message_cut_in_the_middle_arrives_once_and_whole():
    cut, large = asyncio.Event(), np.arange(8 * 2**20)  # 64 MiB: the kernel can't hold it all

    async def half(reader, writer):
        peer = RawPeer(reader, writer)
        assert isinstance(await peer.event(), wire.Hello)
        writer.write(wire.accept(2**30))
        await reader.readexactly(100_000)
        await peer.reset()
        cut.set()

    async with asyncio.TaskGroup() as group:
        server = await asyncio.start_server(
            lambda r, w: group.create_task(half(r, w)) and None, HERE, 0
        )
        port = server.sockets[0].getsockname()[1]
        out = sender(port)
        group.create_task(out.send(large))
        await cut.wait()
        server.close()
        async with stream.listen(HERE, port, ["y"]) as listener:
            np.testing.assert_array_equal((await listener.inputs["y"].take()).value, large)
            assert await out.aclose()
            assert [m async for m in listener.inputs["y"]] == []


async def test_a_message_that_is_sent_again_is_not_taken_twice():
    hello = wire.hello("a.x>b.y", "y", "a")
    async with stream.listen(HERE, 0, ["y"]) as listener:
        first = await raw_client(listener.port, hello, encoded("x", 1))
        assert (await listener.inputs["y"].take()).id == "a:00000007:1"
        await first.reset()
        again = await raw_client(listener.port, hello, encoded("x", 1), encoded("y", 2))
        assert (await listener.inputs["y"].take()).id == "a:00000007:2"
        await again.close()


async def test_a_new_connection_of_a_stream_replaces_the_dead_one():
    hello = wire.hello("a.x>b.y", "y", "a")
    async with stream.listen(HERE, 0, ["y"]) as listener:
        old = await raw_client(listener.port, hello)
        assert isinstance(await old.event(), wire.Accept)
        new = await raw_client(listener.port, hello, encoded("new"))
        assert (await listener.inputs["y"].take()).value == "new"
        assert await old.eof()
        for peer in (old, new):
            await peer.close()


async def test_what_the_former_connection_left_comes_first():
    """A sender fills the queue and is restarted: nothing is lost, nothing overtakes."""
    hello = wire.hello("a.x>b.y", "y", "a")
    async with stream.listen(HERE, 0, ["y"], queue=2) as listener:
        inbox = listener.inputs["y"]
        former = b"".join(encoded(n, n + 1) for n in range(1000))
        old = await raw_client(listener.port, hello, former)
        await old.writer.drain()
        assert isinstance(await old.event(), wire.Accept)
        new = await raw_client(listener.port, hello, encoded(1000, 1001), wire.LAST_WORD)
        assert isinstance(await new.event(), wire.Accept)
        assert [m.value async for m in inbox] == list(range(1001))
        for peer in (old, new):
            await peer.close()


async def test_a_cancelled_take_loses_no_message():
    async with stream.listen(HERE, 0, ["y"]) as listener:
        inbox, out = listener.inputs["y"], sender(listener.port)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await inbox.take()
        await out.send("kept")
        assert (await inbox.take()).value == "kept"
        out.abort()
        assert not await out.aclose()


@pytest.mark.parametrize("wanted", ["nonsense", "y"])
async def test_what_the_receiver_does_not_have_is_refused_with_a_reason(wanted):
    box = stream.Inbox("y", [Edge("c.x>b.y", 1)])
    async with stream.Listener([(HERE, 0)], [box]) as listener:
        out = stream.connect(HERE, listener.port, input=wanted, sender="a")
        for _ in range(2):
            with pytest.raises(StreamRefused, match=r"a>\w+: refused: .*\(it has (y|c.x>b.y)\)"):
                await out.send(1)
        assert not await out.aclose()


async def test_another_wire_version_is_told_so():
    async with stream.listen(HERE, 0, ["y"]) as listener:
        hello = bytearray(wire.hello("s", "y", "a"))
        hello[4] = 99
        peer = await raw_client(listener.port, bytes(hello))
        refusal = await peer.event()
        assert str(OTTER_WIRE_VERSION) in refusal.reason
        assert "99" in refusal.reason
        assert await peer.eof()
        await peer.close()


HELLO = wire.hello("s", "y", "a")


@pytest.mark.parametrize(
    ("said", "why", "on_its_stream"),
    [
        (b"GET / HTTP/1.1\r\nHost: otter\r\n\r\n", "what came is no OTTER message", 0),
        (wire.LAST_WORD, "unexpected End from a sender", 0),
        (encoded("no hello"), "a message where none may be yet", 0),
        (HELLO * 2, "unexpected Hello from a sender", 1),
        (HELLO + wire.accept(5), "unexpected Accept from a sender", 1),
        (HELLO + b"\0" * 100, "what came is no OTTER message", 1),
        (HELLO + damaged(encoded("a message")), "malformed header of a message", 1),
        (wire.hello("s", "nobody", "a"), "stream 's': no input 'nobody' here (it has y)", 0),
    ],
)
async def test_a_hostile_peer_is_cut_off_and_harms_nobody(said, why, on_its_stream, capsys):
    async with stream.listen(HERE, 0, ["y"]) as listener:
        out = sender(listener.port)
        await out.open()
        peer = await raw_client(listener.port, said)
        while (event := await peer.event()) is not None:
            assert isinstance(event, (wire.Accept, wire.Refuse))
        await peer.close()
        where = f"otter: tcp at {HERE}:{listener.port}"
        assert why in (reason := rubbish(listener))
        assert capsys.readouterr().err == f"{where}: refused {HERE}: {reason}\n"
        for _ in range(2):  # that peer is told of, for a minute
            again = await raw_client(listener.port, said)
            while await again.event() is not None:
                pass
            await again.close()
        assert capsys.readouterr().err == ""
        assert listener.rubbish.count == 3
        edge = listener.inputs["y"].edges.get("s")
        assert (edge.stats.extra.get("refused", 0) if edge else 0) == 3 * on_its_stream
        await out.send("still here")
        assert (await listener.inputs["y"].take()).value == "still here"
        out.abort()
        assert not await out.aclose()


async def test_a_stream_is_taken_from_its_own_address_only(capsys):
    """An intruder that knows all names gets no word in, and cuts nobody off."""
    box = stream.Inbox("y", [Edge("a.x>b.y", 4, source=HERE)])
    async with stream.Listener([(HERE, 0)], [box]) as listener:
        out = sender(listener.port, delivery="at-most-once")
        await out.send("before")
        connection = out._connection
        said = (wire.hello("a.x>b.y", "y", "a"), encoded("forged"), wire.LAST_WORD)
        intruder = await raw_client(listener.port, *said, source=ELSEWHERE)
        refusal = await intruder.event()
        assert isinstance(refusal, wire.Refuse)
        assert ELSEWHERE in refusal.reason
        assert f"refused {ELSEWHERE}: stream 'a.x>b.y': this" in capsys.readouterr().err
        assert await intruder.eof()
        await intruder.close()
        await out.send("after")
        assert out._connection is connection
        assert connection.alive
        assert await out.aclose()
        assert [m.value async for m in box] == ["before", "after"]


async def test_an_intruder_that_comes_first_does_not_take_the_place():
    box = stream.Inbox("y", [Edge("a.x>b.y", 4, source=HERE)])
    async with stream.Listener([(HERE, 0)], [box]) as listener:
        said = (wire.hello("a.x>b.y", "y", "a"), wire.LAST_WORD)
        intruder = await raw_client(listener.port, *said, source=ELSEWHERE)
        assert isinstance(await intruder.event(), wire.Refuse)
        await intruder.close()
        assert not box.ended
        out = sender(listener.port, delivery="at-most-once")
        await out.send("mine")
        assert await out.aclose()
        assert [m.value async for m in box] == ["mine"]


async def test_a_stream_of_unknown_origin_may_come_from_anywhere():
    box = stream.Inbox("y", [Edge("a.x>b.y", 4)])
    async with stream.Listener([(HERE, 0)], [box]) as listener:
        peer = await raw_client(
            listener.port, wire.hello("a.x>b.y", "y", "a"), encoded("x"), source=ELSEWHERE
        )
        assert (await box.take()).value == "x"
        await peer.close()


async def test_a_message_before_hello_is_refused_by_its_preamble_alone():
    async with stream.listen(HERE, 0, ["y"]) as listener:
        peer = await raw_client(listener.port, encoded(BIG)[:20])
        refusal = await peer.event()  # though nothing more has been sent
        assert isinstance(refusal, wire.Refuse)
        assert "a message where none may be yet" in refusal.reason
        assert await peer.eof()
        await peer.close()


@pytest.mark.parametrize("said", [b"", wire.hello("s", "y", "a")[:-1]])
async def test_who_does_not_say_hello_in_time_is_cut_off(said, capsys):
    """Without a word: an honest sender shall come back."""
    timing = stream.Timing(hello_s=0.05)
    async with stream.listen(HERE, 0, ["y"], timing=timing) as listener:
        peer = await raw_client(listener.port, said)
        assert await peer.eof()
        assert not listener.connections
        await peer.close()
        assert f"refused {HERE}: no hello within 0.05 s\n" in capsys.readouterr().err


async def test_who_has_said_hello_may_be_silent():
    timing = stream.Timing(hello_s=0.5)
    async with stream.listen(HERE, 0, ["y"], timing=timing) as listener:
        greeted = await raw_client(listener.port, wire.hello("s", "y", "a"))
        assert isinstance(await greeted.event(), wire.Accept)
        silent = await raw_client(listener.port)
        assert await silent.eof()  # it came later: the other's time is over, too
        greeted.writer.write(encoded("late"))
        assert (await listener.inputs["y"].take()).value == "late"
        for peer in (greeted, silent):
            await peer.close()


async def test_a_message_over_the_receivers_limit_fails_at_the_sender_alone():
    async with stream.listen(HERE, 0, ["y"], limit_bytes=1000) as listener:
        out = sender(listener.port)
        with pytest.raises(MessageTooLarge, match="over the limit of 1000"):
            await out.send(BIG)
        await out.send("small")
        assert (await listener.inputs["y"].take()).value == "small"
        out.abort()
        assert not await out.aclose()
