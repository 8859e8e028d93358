"""Commands in a module, over a WebSocket.

From the client: text `ExecRequest`; then binary is its input (empty: the end), and text a
`TerminalSize`, the window's from now on. To the client: binary, of which the first byte says what
follows: 1 or 2 the output of that number, 0 the end, `{"exit": N}` or `{"error": Problem}`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
from aiohttp import WSMsgType, web

from net.errors import OtterError
from otter_agent import api
from otter_agent.errors import AgentError
from otter_agent.runtimes.base import Exec, Key
from otter_agent.runtimes.setting import Setting, Terminal
from otter_agent.server.common import AGENT, module_of

STDIN_CHUNKS = 16
"""Messages of stdin in flight: a command that doesn't read slows its client."""
MAX_CHARACTERS = 1000
"""Of a terminal, per side."""
CANNOT_RUN, NOT_FOUND = 126, 127
_WHICH_SHELL = ("/bin/sh", "-c", "command -v bash || command -v sh")


async def _exec(request: web.Request) -> web.StreamResponse:
    agent = request.app[AGENT]
    module = module_of(agent, request)
    driver = agent.machine.runtimes[module.runtime]
    if not isinstance(driver, Exec):
        raise AgentError("bad-request", f"runtime {module.runtime} can't run commands in a module")
    socket = web.WebSocketResponse(max_msg_size=1 << 24)
    await socket.prepare(request)
    key = Key(request.match_info["mesh"], module.name)
    try:
        wanted = await _exec_request(socket)
        argv = wanted.argv or await _shell(driver, key, wanted.user)
        code = await _run_while_connected(socket, driver, key, argv, _setting(wanted))
        last: dict[str, Any] = {"exit": code}
    except OtterError as error:
        problem = api.Problem(code="failed", message=str(error.args[0]), hint=error.hint)
        last = {"error": api.to_builtins(problem)}
    if not socket.closed:
        await socket.send_bytes(b"\x00" + api.encode(last))
    await socket.close()
    return socket


async def _exec_request(socket: web.WebSocketResponse) -> api.ExecRequest:
    message = await socket.receive()
    try:
        if message.type is WSMsgType.TEXT:
            return api.decode(message.data, api.ExecRequest)
        why = "the first message must be text"
    except (msgspec.DecodeError, RecursionError) as error:
        why = str(error)
    raise AgentError("bad-request", f"exec: {why}")


def _setting(wanted: api.ExecRequest) -> Setting:
    if wanted.cwd and not wanted.cwd.startswith("/"):
        raise AgentError("bad-request", f"exec: folder {wanted.cwd!r} is not absolute")
    size = wanted.terminal
    return Setting(
        env=wanted.env, cwd=wanted.cwd, user=wanted.user,
        terminal=Terminal(*_bounded(size)) if size else None,
    )  # fmt: skip


def _bounded(size: api.TerminalSize) -> tuple[int, int]:
    """What the kernel's terminals can hold."""
    return max(0, min(size.rows, MAX_CHARACTERS)), max(0, min(size.columns, MAX_CHARACTERS))


async def _shell(driver: Exec, key: Key, user: str) -> Sequence[str]:
    """The best shell that a module has.

    Raises:
        AgentError: It has none.
    """
    said = bytearray()

    async def take(fd: int, data: bytes) -> None:
        said.extend(data if fd == 1 else b"")

    status = await driver.exec(
        key, _WHICH_SHELL, stdin=None, output=take, setting=Setting(user=user)
    )
    if status in (CANNOT_RUN, NOT_FOUND):
        raise AgentError(
            "no-shell",
            f"module {key.module} has no shell",
            hint=f"name a program that it has: otterctl exec {key.module} -- PROGRAM",
        )
    return (said.decode(errors="replace").strip() or "/bin/sh",)


async def _run_while_connected(
    socket: web.WebSocketResponse, driver: Exec, key: Key, argv: Sequence[str], setting: Setting
) -> int:
    """Run a command; it is killed when its client goes away.

    Raises:
        OtterError: It can't be run: the module doesn't run, there is no such user, …
    """
    stdin: asyncio.Queue[bytes] = asyncio.Queue(STDIN_CHUNKS)

    async def given() -> AsyncIterator[bytes]:
        while data := await stdin.get():
            yield data

    async def listen() -> None:
        async for message in socket:
            if message.type is WSMsgType.BINARY:
                await stdin.put(message.data)
            elif message.type is WSMsgType.TEXT and setting.terminal is not None:
                with contextlib.suppress(msgspec.DecodeError):
                    size = api.decode(message.data, api.TerminalSize)
                    setting.terminal.resize(*_bounded(size))

    try:
        async with asyncio.TaskGroup() as group:
            work = group.create_task(
                driver.exec(key, argv, stdin=given(), output=_output(socket), setting=setting),
                name=f"exec in {key}",
            )
            listening = group.create_task(listen(), name=f"stdin of {key}")
            await asyncio.wait((work, listening), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                work.cancel()
            listening.cancel()
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None  # one cause, the rest was cancelled for it
    if work.cancelled():
        raise AgentError("gone", "the client went away; the command was killed")
    return work.result()


def _output(socket: web.WebSocketResponse) -> Any:
    async def write(fd: int, data: bytes) -> None:
        await socket.send_bytes(bytes([fd]) + data)

    return write


ROUTES = (web.get("/v1/meshes/{mesh}/modules/{module}/exec", _exec),)
