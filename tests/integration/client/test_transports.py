"""The client over another kind of stream: the pipes of a process, as a channel of SSH would be."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from aiohttp import web

from otter_ctl.client import AgentClient
from otter_ctl.connection import Stream

RELAY = """
import os, socket, sys, threading
wire = socket.socket(socket.AF_UNIX)
wire.connect(sys.argv[1])
def upwards():
    while data := os.read(0, 65536):
        wire.sendall(data)
    wire.shutdown(socket.SHUT_WR)
threading.Thread(target=upwards, daemon=True).start()
while data := wire.recv(65536):
    os.write(1, data)
"""


def relayed(socket: Path, opened: list[asyncio.subprocess.Process]):
    """Streams whose other end is a process that talks to the socket."""

    async def open_() -> Stream:
        relay = await asyncio.create_subprocess_exec(
            sys.executable, "-c", RELAY, str(socket),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        opened.append(relay)

        async def close() -> None:
            relay.stdin.close()
            await relay.wait()

        return Stream(relay.stdout, relay.stdin, relay.stdin.close, close)

    return open_


async def test_requests_and_messages_over_pipes(peer):
    async def meshes(request):
        return web.json_response([])

    async def echo(request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_bytes((await socket.receive_bytes())[::-1])
        await socket.close()
        return socket

    app = web.Application()
    app.add_routes([web.get("/v1/meshes", meshes), web.get("/d", echo)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.UnixSite(runner, str(peer.socket)).start()
    opened: list[asyncio.subprocess.Process] = []
    async with AgentClient(peer.socket, "far", relayed(peer.socket, opened)) as client:
        assert [await client.meshes() for _ in range(3)] == [[]] * 3
        assert len(opened) == 1
        async with client.duplex("/d") as duplex:
            await duplex.send(b"abc" * 100_000)
            assert await duplex.receive() == b"cba" * 100_000
            assert await duplex.receive() is None
    await runner.cleanup()
    for relay in opened:
        await asyncio.wait_for(relay.wait(), 10)
