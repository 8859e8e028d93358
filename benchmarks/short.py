"""Where a short message's time goes: 64 bytes there and back, in numbers that load hardly moves.

CPU time of both ends, lowest of several turns: in one process, and in two on one CPU, as modules
are, once with addresses of their own (as always) and once with the same (`setarch -R`), where what
the CPU has learned of one process's branches serves the other, too. And how many instructions of
Python's are carried out, ours and asyncio's. The limit is a bare `BufferedProtocol` echo.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks.row import NotHere, Row
from benchmarks.transport.peer import HERE
from benchmarks.transport.peers.bare_protocol import Answering, Asking
from net import stream

VALUE = bytes(range(64))
WARM, COUNT, TURNS = 500, 3000, 7
COUNTED = 200
others: list[int] = []
"""Processes whose time counts, too."""
Ask = Callable[[int], Awaitable[object]]


# --- what is measured ------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def ours() -> AsyncIterator[Ask]:
    """Both ends here."""
    async with (
        stream.listen(HERE, 0, ["there"]) as there,
        stream.listen(HERE, 0, ["back"]) as back,
        stream.connect(HERE, there.port, input="there", sender="asker") as out,
        stream.connect(HERE, back.port, input="back", sender="answerer") as answers,
        asyncio.TaskGroup() as group,
    ):
        answering = group.create_task(answer(there.inputs["there"], answers))
        yield asking(out, back.inputs["back"])
        answering.cancel()


async def answer(inbox: stream.Inbox, answers: stream.Sender) -> None:
    """Send back what comes."""
    async for message in inbox:
        await answers.send(message.value, reply_to=message.id)


def asking(out: stream.Sender, inbox: stream.Inbox) -> Ask:
    """Round trips by these."""

    async def ask(count: int) -> None:
        for _ in range(count):
            await out.send(VALUE)
            await inbox.__anext__()

    return ask


@contextlib.asynccontextmanager
async def apart() -> AsyncIterator[Ask]:
    """The other end in a process of its own, on the same CPU, of which it tells the time, too."""
    async with stream.listen(HERE, 0, ["back"]) as listener:
        argv = [sys.executable, "-m", "benchmarks.short", "answer", str(listener.port)]
        child = await asyncio.create_subprocess_exec(*argv)
        others.append(child.pid)
        inbox = listener.inputs["back"]
        port = (await inbox.take()).value
        async with stream.connect(HERE, port, input="there", sender="asker") as out:
            yield asking(out, inbox)
        await child.wait()
        others.clear()


async def answer_elsewhere(port: int) -> None:
    """The other end of `apart`."""
    async with (
        stream.listen(HERE, 0, ["there"]) as there,
        stream.connect(HERE, port, input="back", sender="answerer") as answers,
    ):
        await answers.send(there.port)
        await answer(there.inputs["there"], answers)


@contextlib.asynccontextmanager
async def bare() -> AsyncIterator[Ask]:
    """The limit, both ends here."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Answering(len(VALUE)), HERE, 0)
    asking = Asking(VALUE)
    await loop.create_connection(lambda: asking, *server.sockets[0].getsockname())
    yield asking.ask_all
    server.close()


# --- how -------------------------------------------------------------------------------------


def cpu_s() -> float:
    """What these processes have taken of the processor; the kernel counts it in nanoseconds."""
    counted = (Path(f"/proc/{pid}/schedstat").read_text().split()[0] for pid in others)
    return time.process_time() + sum(map(int, counted)) / 1e9


async def lowest(ends: contextlib.AbstractAsyncContextManager[Ask]) -> float:
    """Seconds of a round trip, lowest of all turns."""
    async with ends as ask:
        await ask(WARM)
        found = []
        for _ in range(TURNS):
            begin = cpu_s()
            await ask(COUNT)
            found.append((cpu_s() - begin) / COUNT)
    return min(found)


async def instructions() -> tuple[float, float]:
    """Python's instructions in a round trip: in `net`, and elsewhere (asyncio, and who asks)."""
    seen = [0, 0]

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        if event == "call":
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        elif event == "opcode":
            seen["/net/" not in frame.f_code.co_filename] += 1
        return trace

    async with ours() as ask, asyncio.TaskGroup() as group:
        await ask(WARM)
        sys.settrace(trace)
        await group.create_task(ask(COUNTED))  # type: ignore[arg-type]
        sys.settrace(None)
    return seen[0] / COUNTED, seen[1] / COUNTED


MODES: dict[str, Callable[[], Awaitable[Any]]] = {
    "bare": lambda: lowest(bare()),
    "ours": lambda: lowest(ours()),
    "apart": lambda: lowest(apart()),
    "instructions": instructions,
}


def measured(mode: str, *before: str, **environment: str) -> Any:
    """What a process on one CPU finds out."""
    command = [*before, sys.executable, "-m", "benchmarks.short", mode]
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        done = subprocess.run(
            command, env={**os.environ, **environment}, stdout=subprocess.PIPE, check=True
        )
    finally:
        os.sched_setaffinity(0, allowed)
    return json.loads(done.stdout)


def rows() -> list[Row]:
    """The figures."""
    if shutil.which("setarch") is None:
        raise NotHere("setarch isn't installed (util-linux)")
    limit, pure = measured("bare"), {"OTTER_PURE": "1"}
    one = _row("64 B round trip, CPU of both ends in one process", "s", measured("ours"), limit)
    one["peers"] = {"Python alone": measured("ours", **pure)}
    two = _row("64 B round trip, CPU of both ends in two processes", "s", measured("apart"), None)
    two["peers"] = {
        "same addresses": measured("apart", "setarch", "-R"),
        "Python alone": measured("apart", **pure),
    }
    mine, others = measured("instructions")
    words = "64 B round trip, instructions of Python in net"
    steps = _row(words, "1", mine, None)
    pure_mine, _ = measured("instructions", **pure)
    steps["peers"] = {"Python alone": pure_mine, "asyncio's": others}
    return [one, two, steps]


def _row(name: str, unit: Any, value: float, limit: float | None) -> Row:
    return Row(
        name=name, unit=unit, better="lower", ours=value, peers={}, limit=limit, goal=None, n=TURNS
    )


if __name__ == "__main__":
    if sys.argv[1] == "answer":
        asyncio.run(answer_elsewhere(int(sys.argv[2])))
    else:
        print(json.dumps(asyncio.run(MODES[sys.argv[1]]())))  # type: ignore[arg-type]
