"""Messages both ways, beside another implementation of WebSockets and beside broken ones."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib

import pytest
from aiohttp import WSMsgType, web

from otter_agent import api
from otter_ctl.client import AgentClient
from otter_ctl.errors import AgentFault, AgentUnreachable

SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: "
)


@contextlib.asynccontextmanager
async def app(peer, handler):
    """aiohttp's server with one WebSocket handler, and a client of it."""
    application = web.Application()
    application.router.add_get("/d", handler)
    runner = web.AppRunner(
        application, access_log=None, shutdown_timeout=1, handler_cancellation=True
    )
    await runner.setup()
    await web.UnixSite(runner, str(peer.socket)).start()
    try:
        async with AgentClient(peer.socket) as client:
            yield client
    finally:
        await runner.cleanup()


async def echo(request):
    socket = web.WebSocketResponse(max_msg_size=1 << 24)
    await socket.prepare(request)
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            await socket.send_str(message.data)
        else:
            await socket.send_bytes(message.data)
    return socket


async def test_text_bytes_and_empty_messages_stay_apart(peer):
    said = ["hé", b"\x00\xff", b"", "", b"x" * 70_000, "y" * 70_000]
    async with app(peer, echo) as client, client.duplex("/d") as duplex:
        for message in said:
            await duplex.send(message)
        assert [await duplex.receive() for _ in said] == said


async def test_much_both_ways_at_once(peer):
    piece = bytes(range(256)) * 256
    async with app(peer, echo) as client, client.duplex("/d") as duplex:
        heard = hashlib.sha256()

        async def listen():
            for _ in range(256):
                heard.update(await duplex.receive())

        async with asyncio.TaskGroup() as group:
            group.create_task(listen())
            for _ in range(256):
                await duplex.send(piece)
    assert heard.digest() == hashlib.sha256(piece * 256).digest()


async def test_the_end_pings_and_iteration(peer):
    answered = asyncio.Event()

    async def handler(request):
        socket = web.WebSocketResponse(autoping=False)
        await socket.prepare(request)
        await socket.send_str("one")
        await socket.ping(b"?")
        message = await socket.receive()
        assert (message.type, message.data) == (WSMsgType.PONG, b"?")
        answered.set()
        await socket.send_bytes(b"two")
        await socket.close()
        return socket

    async with app(peer, handler) as client, client.duplex("/d") as duplex:
        assert [message async for message in duplex] == ["one", b"two"]
        assert answered.is_set()
        assert await duplex.receive() is None
        await duplex.send(b"into the void")


async def test_leaving_delivers_what_was_sent_and_says_goodbye(peer):
    heard = asyncio.Queue()

    async def handler(request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            heard.put_nowait(len(message.data))
        heard.put_nowait(f"closed {socket.close_code}")
        return socket

    async with app(peer, handler) as client:
        async with client.duplex("/d") as duplex:
            await duplex.send(b"x" * (3 << 20))
        async with asyncio.timeout(5):
            assert [await heard.get(), await heard.get()] == [3 << 20, "closed 1000"]


async def test_a_refusal_is_the_agents_own_word(peer):
    async def handler(request):
        problem = api.Problem(code="not-found", message="no module x", hint="there are: y")
        return web.Response(status=404, body=api.encode(problem))

    async with app(peer, handler) as client:
        with pytest.raises(AgentFault, match="no module x; there are: y") as caught:
            async with client.duplex("/d"):
                pass
        assert caught.value.code == "not-found"


async def test_no_duplex_there_at_all(peer):
    async def handler(request):
        return web.Response(text="just a page")

    async with app(peer, handler) as client:
        with pytest.raises(AgentFault, match="just a page"):
            async with client.duplex("/d"):
                pass


def accepts(key: bytes) -> bytes:
    import base64

    seed = key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
    return SWITCH + base64.b64encode(hashlib.sha1(seed).digest()) + b"\r\n\r\n"


@pytest.mark.parametrize(
    ("frames", "why"),
    [
        (b"", "it was closed"),
        (b"\x82\x7e\x10", "it was closed"),
        (b"\xf2\x01x", "connection broke"),
        (b"\x81\x02\xff\xff", "connection broke"),
        (b"\x80\x01x", "connection broke"),
        (b"\x88\x02\x03\xf3", "code 1011"),
        (b"\x82\x7f" + (1 << 40).to_bytes(8, "big") + b"x" * (17 << 20), "message of over"),
    ],
    ids=["hangs up", "half a frame", "reserved bits", "no UTF-8", "continues nothing",
         "internal error", "a terabyte"],
)  # fmt: skip
async def test_broken_messages(peer, hear, frames, why):
    async def handle(reader, writer):
        head = await hear(reader)
        key = next(x for x in head.split(b"\r\n") if x.lower().startswith(b"sec-websocket-key"))
        writer.write(accepts(key.split(b": ")[1]) + frames)
        await writer.drain()
        if len(frames) > 100:
            await reader.read()

    async with peer.serving(handle), AgentClient(peer.socket) as client:
        with pytest.raises(AgentUnreachable, match=why):
            async with client.duplex("/d") as duplex:
                await duplex.receive()


@pytest.mark.parametrize("answer", [b"", b"nonsense\r\n\r\n", SWITCH + b"no\r\n\r\n"])
async def test_a_handshake_that_fails(peer, hear, answer):
    async def handle(reader, writer):
        await hear(reader)
        writer.write(answer)

    async with peer.serving(handle), AgentClient(peer.socket) as client:
        with pytest.raises(AgentUnreachable, match="connection broke"):
            async with client.duplex("/d"):
                pass
