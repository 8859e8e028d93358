"""What a container prints, and commands run inside it: the docker runtime's long-lived streams.

Must not know: how containers are made, labels.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from otter_agent.api import LogLine
from otter_agent.engine import Engine, EngineError, filters, translated
from otter_agent.errors import ContainerError
from otter_agent.runtimes.base import ExecOutput, Key
from otter_agent.runtimes.frames import Frames, Lines, seconds, since

_BLOCK = 65536
_FAREWELL_S = 5.0
_POLL_S = 0.02
_NOT_FOUND = 127
_NOT_STARTED = b"OCI runtime exec failed"
_NOT_THERE = (b"executable file not found", b"no such file or directory")
"""Older engines say 126 for a command that isn't there, as for one that can't be run."""

FindId = Callable[[Key], Awaitable[str | None]]


async def follow_logs(
    engine: Engine, find_id: FindId, key: Key, *, tail: int | None, follow: bool
) -> AsyncIterator[LogLine]:
    """Lines of a container's log; `follow` goes on through its restarts until it is removed."""
    with translated(ContainerError, "read the log", key):
        container = await find_id(key)
        if container is None:
            return
        last = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z") if tail == 0 else ""
        params = {"tail": "all" if tail is None else str(tail)}
        while life := await _life(engine, container):
            seen = last  # `since` includes its moment
            async for stamp, text in _read(engine, container, params, follow):
                if stamp <= seen:
                    continue
                last = max(last, stamp)  # two outputs are stamped apart: order isn't strict
                yield LogLine(module=key.module, text=text, time=seconds(stamp))
            if not follow or not await _lives_again(engine, container, life):
                return
            params = {"since": since(last)} if last else {}


async def _read(
    engine: Engine, container: str, params: dict[str, str], follow: bool
) -> AsyncIterator[tuple[str, str]]:
    wanted = {"stdout": "1", "stderr": "1", "timestamps": "1", "follow": str(int(follow)), **params}
    frames, lines = Frames(), Lines()
    path = f"/containers/{container}/logs"
    async with engine.stream("GET", path, params=wanted) as response:
        with engine.errors():
            async for block in response.content.iter_any():
                for fd, data in frames.feed(block):
                    if line := lines.feed(fd, data):
                        yield line
    for line in lines.rest():
        yield line


async def _life(engine: Engine, container: str) -> str | None:
    """Names a container's current life; None once it is removed."""
    try:
        state: dict[str, Any] = (await engine.json("GET", f"/containers/{container}/json"))["State"]
    except EngineError as exc:
        if exc.status == 404:
            return None
        raise
    return f"{state['Status']} {state['StartedAt']}"


async def _lives_again(engine: Engine, container: str, life: str) -> bool:
    """Wait until the container is started anew (True) or removed (False)."""
    wanted = filters(type=["container"], container=[container], event=["start", "destroy"])
    async with engine.stream("GET", "/events", params=wanted) as response:
        now = await _life(engine, container)  # it may have come back before we listened
        if now is None:
            return False
        if now.startswith("running") or now.split()[1] != life.split()[1]:
            return True
        async for event in engine.objects(response):
            return bool(event["Action"] == "start")
    raise EngineError(0, f"the engine at {engine.url} went away")


async def run_exec(
    engine: Engine,
    container: str,
    argv: Sequence[str],
    stdin: AsyncIterator[bytes] | None,
    output: ExecOutput,
) -> int:
    """Run a command in a container to its end; returns its exit status.

    Cancellation: the command is killed.
    """
    body = {
        "Cmd": list(argv),
        "AttachStdin": stdin is not None,
        "AttachStdout": True,
        "AttachStderr": True,
    }
    made = await engine.json("POST", f"/containers/{container}/exec", body=body)
    path = f"/exec/{made['Id']}"
    reader, writer = await engine.hijack(f"{path}/start", {"Detach": False, "Tty": False})
    taker = _Output(output)
    try:
        await _exchange(engine, reader, writer, stdin, taker)
    except BaseException:
        await _kill_exec(engine, path)
        raise
    finally:
        writer.transport.abort()  # close() would wait for input that nobody takes any more
    if taker.not_found:
        return _NOT_FOUND
    while (done := await engine.json("GET", f"{path}/json"))["Running"]:  # noqa: ASYNC110
        await asyncio.sleep(_POLL_S)  # it closed its outputs before it ended
    return int(done["ExitCode"])


class _Output:
    """Passes output on; what the engine itself says of a command it can't start is stderr."""

    def __init__(self, output: ExecOutput) -> None:
        self._output = output
        self.not_found = False

    async def __call__(self, fd: int, data: bytes) -> None:
        if data.startswith(_NOT_STARTED):
            fd = 2
            self.not_found = any(why in data for why in _NOT_THERE)
        await self._output(fd, data)


async def _exchange(
    engine: Engine,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    stdin: AsyncIterator[bytes] | None,
    output: _Output,
) -> None:
    try:
        async with asyncio.TaskGroup() as group:
            feeding = group.create_task(_feed(writer, stdin)) if stdin is not None else None
            frames = Frames()
            with engine.errors():
                while block := await reader.read(_BLOCK):
                    for fd, data in frames.feed(block):
                        await output(fd, data)
            if feeding is not None:
                feeding.cancel()
    except BaseExceptionGroup as group_error:
        raise group_error.exceptions[0] from None


async def _feed(writer: asyncio.StreamWriter, stdin: AsyncIterator[bytes]) -> None:
    """Pass `stdin` on, then close that half only. A command that ended takes no more."""
    with contextlib.suppress(ConnectionError):
        async for data in stdin:
            writer.write(data)
            await writer.drain()
        writer.write_eof()


async def _kill_exec(engine: Engine, path: str) -> None:
    """The engine has no call for this; the command leads a process group on this machine."""
    with contextlib.suppress(EngineError, TimeoutError, OSError):
        async with asyncio.timeout(_FAREWELL_S):
            while (state := await engine.json("GET", f"{path}/json"))["ExitCode"] is None:
                if state["Pid"] > 0:
                    os.killpg(state["Pid"], signal.SIGKILL)
                    return
                await asyncio.sleep(_POLL_S)  # the engine learns the pid after the command's start
