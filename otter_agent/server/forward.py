"""Connections to modules' ports, over a WebSocket each.

From the client: text `ForwardRequest`. To the client: empty text once connected, or text `Problem`
and the end. Then binary both ways: of TCP what was read (empty: the end of that direction), of UDP
a datagram each. Text `Problem` and the end: the connection broke.
"""

from __future__ import annotations

import asyncio
import socket

import msgspec
from aiohttp import WSMsgType, web

from net.errors import OtterError
from otter_agent import api, forward
from otter_agent.errors import AgentError
from otter_agent.server.common import AGENT, module_of

_CHUNK_BYTES = 1 << 18
_MAX_MESSAGE_BYTES = 1 << 24
_LARGEST_DATAGRAM = 65507


async def _forward(request: web.Request) -> web.StreamResponse:
    agent = request.app[AGENT]
    module = module_of(agent, request)
    spec = agent.spec(request.match_info["mesh"])
    # Compressing what is read once costs more than it saves on one machine.
    channel = web.WebSocketResponse(max_msg_size=_MAX_MESSAGE_BYTES, compress=False)
    await channel.prepare(request)
    try:
        asked = await _asked(channel)
        async with forward.opened(agent.machine.network, spec, module, asked) as at:
            await channel.send_str("")
            await _carry(channel, at, asked.protocol)
    except (OtterError, ConnectionError) as error:
        await _say(channel, error)
    await channel.close()
    return channel


async def _asked(channel: web.WebSocketResponse) -> api.ForwardRequest:
    message = await channel.receive()
    try:
        if message.type is WSMsgType.TEXT:
            asked = api.decode(message.data, api.ForwardRequest)
            if 0 < asked.port < 65536:
                return asked
            why = f"{asked.port} is no port"
        else:
            why = "the first message must be text"
    except (msgspec.DecodeError, RecursionError) as error:
        why = str(error)
    raise AgentError("bad-request", f"forward: {why}")


async def _say(channel: web.WebSocketResponse, error: Exception) -> None:
    if channel.closed:
        return
    code = error.code if isinstance(error, AgentError) else "failed"
    hint = error.hint if isinstance(error, OtterError) else ""
    text = error.args[0] if isinstance(error, OtterError) else f"the connection broke ({error})"
    problem = api.Problem(code=code, message=str(text), hint=hint)
    await channel.send_str(api.encode(problem).decode())


async def _carry(channel: web.WebSocketResponse, at: forward.Opened, protocol: str) -> None:
    """Both ways until both ends are done, or one is gone.

    Raises:
        ConnectionError: The module broke the connection, or its host goes.
    """
    inwards = _stream_in if protocol == "tcp" else _datagrams_in
    outwards = _stream_out if protocol == "tcp" else _datagrams_out
    broken: list[ConnectionError] = []

    async def to_client() -> None:
        try:
            await outwards(channel, at.socket)
        except ConnectionError as error:
            broken.append(error)

    async with asyncio.TaskGroup() as group:
        sending = group.create_task(inwards(channel, at.socket), name="forward: to the module")
        reading = group.create_task(to_client(), name="forward: from the module")
        going = group.create_task(at.gone.wait(), name="forward: the host goes")
        tasks = {sending, reading, going}
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if reading.done() and not broken:  # the module has said all; the client may not
            await asyncio.wait({sending, going}, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
    if at.gone.is_set():
        raise ConnectionResetError("the host is removed")
    if broken:
        raise broken[0]


async def _stream_in(channel: web.WebSocketResponse, made: socket.socket) -> None:
    """Until the client hangs up."""
    loop = asyncio.get_running_loop()
    async for message in channel:
        if message.type is not WSMsgType.BINARY:
            continue
        try:
            if message.data:
                await loop.sock_sendall(made, message.data)
            else:
                made.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it broke: the other direction tells


async def _stream_out(channel: web.WebSocketResponse, made: socket.socket) -> None:
    """Until the module has sent all."""
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(made, _CHUNK_BYTES):
        await channel.send_bytes(data)
    await channel.send_bytes(b"")


async def _datagrams_in(channel: web.WebSocketResponse, made: socket.socket) -> None:
    async for message in channel:
        if message.type is WSMsgType.BINARY and len(message.data) <= _LARGEST_DATAGRAM:
            try:
                made.send(message.data)
            except OSError:
                continue  # no room, or nobody listens: it is lost, as on any network


async def _datagrams_out(channel: web.WebSocketResponse, made: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while True:
        try:
            data = await loop.sock_recv(made, _LARGEST_DATAGRAM)
        except ConnectionRefusedError:
            continue  # nobody listens now
        await channel.send_bytes(data)


ROUTES = (web.get("/v1/meshes/{mesh}/modules/{module}/forward", _forward),)
