"""Streams of datagrams over real sockets on loopback: values, losses, refusals, hostile peers."""

from __future__ import annotations

import asyncio
import gc
import random
import socket
import struct
import tracemalloc

import numpy as np
import pytest
from helpers.relay import HERE, Relay

from net import datagram
from net.datagram import control
from net.datagram.fragment import ACCEPT, CHALLENGE, FRAGMENT, HEADER, MAGIC, VERSION
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
ELSEWHERE = "127.0.0.2"
MTU = datagram.Options(mtu_bytes=1500)


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
    options = datagram.Options(mtu_bytes=mtu_bytes, fec_ratio=fec_ratio)
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
            await answer_to(before)  # it has said hello, to nobody who listens
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
    options = datagram.Options(mtu_bytes=1500, retransmit=False, partial=True, deadline_s=0.1)
    value = np.ones((100, 1000), "f4")

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
    slow = datagram.Options(mtu_bytes=1500, rate_bps=50e6)
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


async def test_an_address_that_is_none_is_named():
    with pytest.raises(TransportError, match="can't send to nowhere"):
        await datagram.connect("nowhere.invalid", 9, input="y", sender="a").open()


# --- hostile peers -------------------------------------------------------------------------------


def say_hello(sock, port, session, stream="h>y", **changed):
    fields = {"deadline_s": 1.0, "partial": False, "retransmit": True, **changed}
    greeting = control.Greeting(2, stream, "y", "h", **fields)
    sock.sendto(control.hello(session, greeting, 600), (HERE, port))


async def answer_to(sock):
    """The next datagram for a socket by hand."""
    sock.setblocking(False)
    return await asyncio.get_running_loop().sock_recv(sock, 2000)


async def greet(sock, port, session, **changed):
    """Begin a session: say hello, and say back what that is answered with."""
    say_hello(sock, port, session, **changed)
    token, size = control.read_challenge(await answer_to(sock))
    assert size == 600
    say_hello(sock, port, session, token=token, **changed)
    control.read_accept(await answer_to(sock))


def fragment(session, packet, number, length, index, payload, blocks=1, parity=0, size=256):
    head = HEADER.pack(
        MAGIC, VERSION, FRAGMENT, session, packet, number, 0, length, size, blocks, parity, 0, 0,
        index,
    )  # fmt: skip
    return head + payload


async def works(endpoint):
    """An honest stream, in the midst of it all."""
    async with connect(endpoint.port, sender="honest") as sender:
        await sender.send("still here")
        while (await endpoint.inputs["y"].take()).value != "still here":
            pass


async def test_noise_and_claims_do_no_harm():
    chance = random.Random(3)
    async with listen(limit_bytes=2**20) as endpoint:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            await greet(sock, endpoint.port, 1)
            await greet(sock, endpoint.port, 2)
            tracemalloc.start()
            for i in range(2000):
                session = chance.choice([1, 2, chance.getrandbits(64)])
                if i % 50 == 0:
                    say_hello(sock, endpoint.port, session)
                lengths = (10, 5000, 2**20, 2**32 - 1)
                sizes = (0, 256, 1424, 65456, 65535)
                claims = fragment(
                    session, i, chance.randrange(2**chance.randrange(1, 60)),
                    chance.choice(lengths), chance.randrange(50), chance.randbytes(256),
                    chance.choice([0, 1, 2, 60000]), chance.randrange(256), chance.choice(sizes),
                )  # fmt: skip
                noise = chance.randbytes(chance.randrange(200))
                sock.sendto(chance.choice([claims, noise, claims[:30]]), (HERE, endpoint.port))
                if i % 20 == 0:
                    await asyncio.sleep(0)  # the endpoint has its turn
            _, most = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        await works(endpoint)
    gc.collect()
    assert most < 40 * 2**20


async def test_rubbish_is_told_with_peer_and_reason_once(capsys):
    async with listen() as endpoint:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((ELSEWHERE, 0))
            await greet(sock, endpoint.port, 1)
            nonsense = fragment(1, 1, 1, 256, 0, bytes(256), blocks=0)
            for said in (b"GET / HTTP/1.1\r\n\r\n", nonsense, nonsense):
                sock.sendto(said, (HERE, endpoint.port))
            await works(endpoint)
        told = endpoint.rubbish.summary()
        start = f"otter: udp at {HERE}:{endpoint.port}: refused {ELSEWHERE}: "
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(start)
        assert "a datagram that isn't OTTER's" in line
        assert (told["refused"], told["peer"]) == (3, ELSEWHERE)
        assert "stream 'h>y': " in told["reason"]
        stats = endpoint.inputs["y"].edges["h>y"].stats
        (session,) = (s for s in endpoint._sessions.values() if s.address[0] == ELSEWHERE)
        session._count(0.0)
        assert stats.extra["refused"] == 2


async def test_a_session_is_its_own_addresss_only(capsys):
    async with listen() as endpoint:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as owner,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as thief,
        ):
            await greet(owner, endpoint.port, 5)
            before = endpoint.ignored
            thief.sendto(fragment(5, 1, 1, 256, 0, bytes(256)), (HERE, endpoint.port))
            say_hello(thief, endpoint.port, 5)
            await works(endpoint)
            assert endpoint.ignored == before + 2
        assert f"refused {HERE}: a datagram of somebody else's session" in capsys.readouterr().err


async def test_a_short_hello_gets_no_answer():
    """What would be answered with more than it is could be aimed at others."""
    async with listen() as endpoint:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((HERE, 0))
            greeting = control.Greeting(2, "s" * 200, "y", "h", 1.0, False, True)
            sock.sendto(control.hello(1, greeting, 0), (HERE, endpoint.port))
            sock.sendto(struct.pack("!2sBBQ", MAGIC, VERSION, FRAGMENT, 9), (HERE, endpoint.port))
            await works(endpoint)
            sock.setblocking(False)
            assert sock.recv(2000) == control.gone(9)
            with pytest.raises(BlockingIOError):
                sock.recv(2000)


async def test_another_version_is_told_so():
    async with listen() as endpoint:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((HERE, 0))
            greeting = control.Greeting(99, "s", "y", "h", 1.0, False, True)
            sock.sendto(control.hello(1, greeting, 600), (HERE, endpoint.port))
            await works(endpoint)
            sock.setblocking(False)
            assert "wire version 99, here is" in control.read_refuse(sock.recv(2000))


async def test_sessions_that_come_and_go_are_forgotten():
    async with listen() as endpoint:
        for i in range(300):
            sender = connect(endpoint.port, sender=f"s{i}")
            await sender.open()
            sender.abort()
        assert len(endpoint._sessions) == 300
        for session in endpoint._sessions.values():
            session._core.heard -= 100.0  # as if that much time had passed
        endpoint._on_timer()
        assert len(endpoint._sessions) == 0
        await works(endpoint)


async def test_who_does_not_hear_us_where_he_says_he_is_takes_no_room():
    """Whoever writes the addresses of others on his datagrams doesn't get their answers."""
    async with listen() as endpoint:
        forged = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(3)]
        with forged[0] as mine, forged[1] as another, forged[2] as third:
            for session in range(1, 50):
                say_hello(mine, endpoint.port, session)
            tokens = {}
            for session in range(1, 50):
                answer = await answer_to(mine)
                assert len(answer) < 40
                assert control.read_prefix(answer) == (CHALLENGE, session)
                tokens[session], _ = control.read_challenge(answer)
            assert not endpoint._sessions
            # Neither for another address, nor for another session, nor made up.
            say_hello(another, endpoint.port, 1, token=tokens[1])
            say_hello(third, endpoint.port, 99, token=tokens[2])
            say_hello(third, endpoint.port, 3, token=bytes(8))
            for sock in (another, third, third):
                assert control.read_prefix(await answer_to(sock))[0] == CHALLENGE
            assert not endpoint._sessions
            say_hello(mine, endpoint.port, 1, token=tokens[1])
            assert control.read_prefix(await answer_to(mine)) == (ACCEPT, 1)
            assert list(endpoint._sessions) == [1]
        await works(endpoint)
