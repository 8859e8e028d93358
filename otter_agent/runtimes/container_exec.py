"""Commands run inside a container: their input, output, terminal and exit status.

A command in a terminal first waits at OTTER's gate, as a module does, until the terminal has its
size: else what asks at once (`stty size`) would be told 0 by engines before 23.0. Must not know:
how containers are made, labels.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

from otter_agent.engine import Engine, EngineError
from otter_agent.runtimes import gate
from otter_agent.runtimes.base import ExecOutput
from otter_agent.runtimes.commands import END_OF_FILE
from otter_agent.runtimes.container import WIRING
from otter_agent.runtimes.frames import Frames
from otter_agent.runtimes.gate.hold import arrives, let_through
from otter_agent.runtimes.setting import PLAIN, Setting, Terminal

_BLOCK = 65536
_FAREWELL_S = 5.0
_POLL_S = 0.02
_GATE_S = 10.0
_NOT_FOUND = 127
_NOT_STARTED = b"OCI runtime exec failed"
_NOT_THERE = (b"executable file not found", b"no such file or directory")
"""Older engines say 126 for a command that isn't there, as for one that can't be run."""
_COMMAND = re.compile(rb'exec: "((?:[^"\\]|\\.)*)": ([^\r\n]*)')
"""Which command that was, and why; what stands before differs between engines."""


async def run_exec(
    engine: Engine,
    container: str,
    argv: Sequence[str],
    stdin: AsyncIterator[bytes] | None,
    output: ExecOutput,
    setting: Setting = PLAIN,
    *,
    wiring: Path | None = None,
) -> int:
    """Run a command in a container to its end; returns its exit status.

    Cancellation: the command is killed.

    Args:
        engine: The engine.
        container: Its id.
        argv: The command.
        stdin: Its input; None: it has none.
        output: Takes what it prints.
        setting: How it runs.
        wiring: The folder that the container has as `WIRING`; needed for a terminal.
    """
    with _gate(wiring if setting.terminal else None) as fifo:
        held = [gate.INSIDE, f"{WIRING}/{fifo.name}"] if fifo else []
        body = _body([*held, *argv], setting, stdin=stdin is not None)
        made = await engine.json("POST", f"/containers/{container}/exec", body=body)
        path = f"/exec/{made['Id']}"
        start = {"Detach": False, "Tty": body["Tty"]}
        reader, writer = await engine.hijack(f"{path}/start", start)
        taker = _Output(output)
        try:
            async with _whole_group() as group:
                others = []
                if stdin is not None:
                    others.append(group.create_task(_feed(writer, stdin, setting.terminal)))
                if setting.terminal is not None:
                    others.append(group.create_task(_size(engine, path, setting.terminal, fifo)))
                await _show(engine, reader, taker, raw=setting.terminal is not None)
                for task in others:
                    task.cancel()
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


def _body(argv: Sequence[str], setting: Setting, *, stdin: bool) -> dict[str, Any]:
    body: dict[str, Any] = {
        "Cmd": list(argv),
        "AttachStdin": stdin,
        "AttachStdout": True,
        "AttachStderr": True,
        "Tty": setting.terminal is not None,
        "Env": [f"{name}={value}" for name, value in setting.env.items()],
    }
    if setting.cwd:
        body["WorkingDir"] = setting.cwd
    if setting.user:
        body["User"] = setting.user
    return body


@contextlib.contextmanager
def _gate(wiring: Path | None) -> Iterator[Path | None]:
    """A gate of the command's own; None where it needs none."""
    if wiring is None:
        yield None
        return
    fifo = wiring / f"exec-{secrets.token_hex(8)}"
    os.mkfifo(fifo)
    try:
        fifo.chmod(0o644)  # whoever the command runs as
        yield fifo
    finally:
        fifo.unlink(missing_ok=True)


@contextlib.asynccontextmanager
async def _whole_group() -> AsyncIterator[asyncio.TaskGroup]:
    """A task group that raises its first error as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None


class _Output:
    """Passes output on; what the engine itself says of a command it can't start is stderr."""

    def __init__(self, output: ExecOutput) -> None:
        self._output = output
        self.not_found = False

    async def __call__(self, fd: int, data: bytes) -> None:
        if data.startswith(_NOT_STARTED):
            fd = 2
            self.not_found = any(why in data for why in _NOT_THERE)
            data = _plainly(data, absent=self.not_found)
        await self._output(fd, data)


def _plainly(said: bytes, *, absent: bool) -> bytes:
    """What the engine says of a command it can't start, in the words that OTTER's gate has."""
    found = _COMMAND.search(said)
    if found is None:
        return said
    why = b"it is not in the image" if absent else found[2].removesuffix(b": unknown")
    return b"otter: cannot run %s: %s\n" % (found[1], why)


async def _show(
    engine: Engine, reader: asyncio.StreamReader, output: _Output, *, raw: bool
) -> None:
    frames = Frames()
    with engine.errors():
        while block := await reader.read(_BLOCK):
            for fd, data in [(1, block)] if raw else frames.feed(block):
                await output(fd, data)


async def _feed(
    writer: asyncio.StreamWriter, stdin: AsyncIterator[bytes], terminal: Terminal | None
) -> None:
    """Pass `stdin` on, then close that half only. A command that ended takes no more."""
    with contextlib.suppress(ConnectionError):
        async for data in stdin:
            writer.write(data)
            await writer.drain()
        if terminal is None:
            writer.write_eof()
        else:
            writer.write(END_OF_FILE)


async def _size(engine: Engine, path: str, terminal: Terminal, fifo: Path | None) -> None:
    """Keep the terminal's size up to date; the command starts when it has its first."""
    pid = await _pid(engine, path)
    if pid is None or not await arrives(pid, _GATE_S):
        return
    async for rows, columns in terminal.sizes():
        with contextlib.suppress(EngineError):  # it has just ended
            query = {"h": str(rows), "w": str(columns)}
            await engine.json("POST", f"{path}/resize", params=query)
        if fifo is not None:
            await let_through(fifo, pid, _GATE_S)
            fifo = None


async def _pid(engine: Engine, path: str) -> int | None:
    """The command's pid on this machine; the engine learns it after the start. None: it ended."""
    while (state := await engine.json("GET", f"{path}/json"))["ExitCode"] is None:
        if state["Pid"] > 0:
            return int(state["Pid"])
        await asyncio.sleep(_POLL_S)
    return None


async def _kill_exec(engine: Engine, path: str) -> None:
    """The engine has no call for this; the command leads a process group on this machine."""
    with contextlib.suppress(EngineError, TimeoutError, OSError):
        async with asyncio.timeout(_FAREWELL_S):
            if (pid := await _pid(engine, path)) is not None:
                os.killpg(pid, signal.SIGKILL)
