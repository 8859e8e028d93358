"""What the ways to use the SDK cost: `net.run`, with the transport in a thread, and blocking calls.

Also what counting and recording a message costs, and what importing it adds to numpy's import. The
other end is a process of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import net
from benchmarks.row import Row
from net.loops import new_event_loop
from net.records import Records
from net.stats import EdgeStats
from net.thread import LoopThread
from net.threaded import ThreadedMesh
from net.wiring import StreamEnd, Wiring

ROUNDS = 3
TRIPS = 2000
MESSAGES = 20_000
COUNTING_GOAL_S = 2e-6
IMPORTS = 15
IMPORT_GOAL_S = 0.05
_IMPORT = """
import time, numpy
begun = time.perf_counter()
import net, net.stream
net.Mesh, net.run
print(time.perf_counter() - begun)
"""
_HERE = "127.0.0.1"
_PAYLOAD = bytes(64)


def rows() -> list[Row]:
    """One row of round trips, one of counting, one of recording."""
    ways = {"net.run(main)": _plain, "thread=True": _threaded, "net.blocking": _blocking}
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            took[name].append(_with_echo(way))
    medians = {name: statistics.median(each) for name, each in took.items()}
    trip: Row = {
        "name": "64-byte round trip, SDK, transport in a thread", "unit": "s", "better": "lower",
        "ours": medians.pop("thread=True"), "peers": medians, "limit": None, "goal": None,
        "n": ROUNDS, "note": f"median of {TRIPS} each, {type(_a_loop()).__module__.split('.')[0]}",
    }  # fmt: skip
    counted = _cost("message counted", _count, COUNTING_GOAL_S)
    return [trip, counted, _cost("recorded", _record), _import()]


def _import() -> Row:
    """All that a module needs of `net`, asyncio too, beyond numpy; files are cached."""
    env = {n: v for n, v in os.environ.items() if n != "PYTHONDONTWRITEBYTECODE"}
    took = [
        float(subprocess.check_output([sys.executable, "-c", _IMPORT], env=env))
        for _ in range(1 + IMPORTS)  # the first may write bytecode
    ][1:]
    return {
        "name": "import net, beyond numpy's own", "unit": "s", "better": "lower",
        "ours": statistics.median(took), "peers": {}, "limit": None, "goal": IMPORT_GOAL_S,
        "n": IMPORTS, "note": f"`net.Mesh`, `net.stream`, `net.run`; slowest {max(took):.3f} s",
    }  # fmt: skip


def _a_loop() -> asyncio.AbstractEventLoop:
    loop = new_event_loop()
    loop.close()
    return loop


# --- round trips ---------------------------------------------------------------------------------


def _with_echo(way: Callable[[Wiring], float]) -> float:
    mine, theirs = _wirings()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "wiring.json"
        path.write_text(json.dumps(asdict(theirs)))
        env = {**os.environ, "OTTER_WIRING": str(path), "OTTER_STATE": folder}
        with subprocess.Popen([sys.executable, "-m", "benchmarks.sdk"], env=env) as echo:
            try:
                return way(mine)
            finally:
                echo.terminate()


def _wirings() -> tuple[Wiring, Wiring]:
    with socket.socket() as one, socket.socket() as other:
        one.bind((_HERE, 0))
        other.bind((_HERE, 0))
        ports = one.getsockname()[1], other.getsockname()[1]
    there = StreamEnd("a.ask>b.ask", "ask", "b", _HERE, ports[0])
    back = StreamEnd("b.tell>a.tell", "tell", "a", _HERE, ports[1])
    return (
        Wiring("bench", "a", "h", _HERE, inputs=(back,), outputs=(there,)),
        Wiring("bench", "b", "h", _HERE, inputs=(there,), outputs=(back,)),
    )


async def _trips(mesh: net.Mesh) -> float:
    took = []
    ask, tell = mesh.output("ask"), mesh.input("tell")
    for _ in range(TRIPS):
        began = time.perf_counter()
        await ask.send(_PAYLOAD)
        await tell.receive()
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def _plain(wiring: Wiring) -> float:
    async def work() -> float:
        async with net.Mesh(wiring) as mesh:
            return await _trips(mesh)

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(work())


def _threaded(wiring: Wiring) -> float:
    async def work() -> float:
        with LoopThread() as transport:
            async with ThreadedMesh(transport, net.Mesh(wiring)) as mesh:
                return await _trips(mesh)

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(work())


def _blocking(wiring: Wiring) -> float:
    took = []
    with net.blocking.BlockingMesh(lambda: net.Mesh(wiring)) as mesh:
        ask, tell = mesh.output("ask"), mesh.input("tell")
        for _ in range(TRIPS):
            began = time.perf_counter()
            ask.send(_PAYLOAD)
            tell.receive()
            took.append(time.perf_counter() - began)
    return statistics.median(took)


async def echo(mesh: net.Mesh) -> None:
    """The other end."""
    async for message in mesh.input("ask"):
        await mesh.output("tell").send(message.value)


# --- counting and recording ----------------------------------------------------------------------


def _cost(what: str, work: Callable[[list[net.Message]], None], goal: float | None = None) -> Row:
    took = []
    for _ in range(5):
        messages = [_message(number) for number in range(MESSAGES)]
        began = time.perf_counter()
        work(messages)
        took.append((time.perf_counter() - began) / MESSAGES)
    return {
        "name": f"a {what}" if what.startswith("message") else f"a message {what}", "unit": "s",
        "better": "lower", "ours": statistics.median(took), "peers": {}, "limit": None,
        "goal": goal, "n": 5,
    }  # fmt: skip


def _message(number: int) -> net.Message:
    now = 1.8e9 + number * 1e-3
    message = net.Message(None, number, 7, number, None, now, now, now, 0.0, 144)
    message.source, message.stream = "camera", "camera.images>detector.images"
    message.received = message.taken = now + 1e-4
    return message


def _count(messages: list[net.Message]) -> None:
    stats = EdgeStats("camera.images>detector.images", "tcp")
    for message in messages:
        stats.took(message)
    stats.summary(0.0)


def _record(messages: list[net.Message]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        records = Records(Path(folder), "detector")
        for message in messages:
            records.add(message, message.taken)
        records.close()


if __name__ == "__main__":
    net.run(echo)
