"""Hostile peers of an endpoint for datagrams: noise, claims, thieves, forgers; others go on."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import socket
import struct
import time
import tracemalloc

import pytest
from helpers.relay import HERE

from net import datagram
from net.datagram import control
from net.datagram.fragment import ACCEPT, CHALLENGE, END, FRAGMENT, HEADER, MAGIC, VERSION

pytestmark = pytest.mark.timeout(60)
FAST = datagram.Timing(close_s=0.3)
ELSEWHERE = "127.0.0.2"
MTU = datagram.Options(mtu_bytes=1500)


@pytest.fixture(autouse=True)
async def no_leaks():
    """Every test leaves no task."""
    yield
    assert asyncio.all_tasks() == {asyncio.current_task()}


def connect(port, sender, timing=FAST, **more):
    return datagram.connect(
        HERE, port, options=MTU, input="y", sender=sender, timing=timing, **more
    )


def listen(**options):
    return datagram.listen(HERE, 0, ["y"], **options)


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
    async with connect(endpoint.port, "honest") as sender:
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


async def test_a_last_word_counts_though_nobody_listens_any_more():
    """What came before a refusal is heard, in whichever order the kernel tells of them."""
    loop = asyncio.get_running_loop()

    async def open_and_close(sender):
        await sender.open()
        return await sender.aclose()

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind((HERE, 0))
        receiver.setblocking(False)
        sender = connect(receiver.getsockname()[1], "s")
        async with asyncio.TaskGroup() as group:
            confirmed = group.create_task(open_and_close(sender))
            data = await loop.sock_recv(receiver, 2000)
            _, number = control.read_prefix(data)
            address = HERE, sender._socket.port
            accepted = control.Accepted(2**20, 2**20, len(data))
            receiver.sendto(control.accept(number, accepted), address)
            while control.read_prefix(data)[0] != END:
                data = await loop.sock_recv(receiver, 2000)
            # All of this while the sender has no turn.
            receiver.sendto(control.ended(number), address)
            receiver.close()
            with socket.socket(fileno=os.dup(sender._socket.fileno())) as its:
                its.send(data)
        assert confirmed.result()


async def test_patience_at_the_end_is_with_silence_not_with_the_clock():
    """We stand still, for longer than that; the answer has come meanwhile."""
    loop = asyncio.get_running_loop()

    async def send_and_close(sender):
        await sender.send("last")
        return await sender.aclose()

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind((HERE, 0))
        receiver.setblocking(False)
        sender = connect(receiver.getsockname()[1], "s", policy="latest")
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            confirmed = group.create_task(send_and_close(sender))
            data = await loop.sock_recv(receiver, 2000)
            _, number = control.read_prefix(data)
            address = HERE, sender._socket.port
            accepted = control.Accepted(2**20, 2**20, len(data))
            receiver.sendto(control.accept(number, accepted), address)
            time.sleep(FAST.close_s + 0.1)  # the whole process does
            while control.read_prefix(data)[0] != END:
                data = await loop.sock_recv(receiver, 2000)
            receiver.sendto(control.ended(number), address)
        assert confirmed.result()


async def test_closing_waits_for_nobody_who_is_silent():
    """However often he is greeted meanwhile: ever less, but every half second at least."""
    timing = datagram.Timing(close_s=1.0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind((HERE, 0))
        sender = connect(silent.getsockname()[1], "s", policy="latest", timing=timing)
        await sender.send("anybody there?")
        async with asyncio.timeout(10):
            assert await sender.aclose() is False


async def test_another_version_is_told_so():
    async with listen() as endpoint:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((HERE, 0))
            greeting = control.Greeting(99, "s", "y", "h", 1.0, False, True)
            sock.sendto(control.hello(1, greeting, 600), (HERE, endpoint.port))
            await works(endpoint)
            sock.setblocking(False)
            assert "wire version 99, here is" in control.read_refuse(sock.recv(2000))


async def test_sessions_that_come_and_go_are_forgotten(monkeypatch):
    monkeypatch.setattr("net.datagram.endpoint.DEAD_S", 60.0)  # not before all have come
    async with listen() as endpoint:
        for i in range(300):
            sender = connect(endpoint.port, f"s{i}")
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
