"""What it takes to hand arrays and short messages to another module of the same host.

Two processes each, as modules see it (`net.Mesh`); all kinds in turn, round by round, so that what
else the machine does falls on all of them alike. Times are of one clock for all processes.
"""

from __future__ import annotations

import asyncio
import os
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.row import Row
from net.mesh import Mesh
from net.wiring import StreamEnd, Wiring

BIG = 16 * 2**20
ROUNDS = 30
ARRAYS = 4
SHORT = 150
IN_PLACE_GOAL_S = 200e-6
TIMES_PYZMQ = 20.0
COPIED_GOAL = 1.3
_HERE = "127.0.0.1"
_TIME = struct.Struct("d")
_WARM_UP = 3
"""Rounds that don't count: memory is touched for the first time."""

Samples = dict[str, list[float]]


class Peer(Protocol):
    """The other process, from here."""

    async def hand_over(self, array: NDArray[Any]) -> float:
        """Seconds from sending an array until the other has it."""
        ...

    async def echo(self, data: bytes) -> None:
        """Send bytes and have them back."""
        ...


def rows() -> list[Row]:
    """Arrays of 16 MiB, filled in place and copied, and short messages."""
    samples, has_zmq = asyncio.run(_measure())
    median = {name: statistics.median(values) for name, values in samples.items()}
    n = len(samples["shm in place"])
    peers = {"ours over tcp": median["tcp array"]}
    if has_zmq:
        peers["pyzmq ipc copy=False"] = median["pyzmq array"]
    found = [
        _row("16 MiB array filled in place: handed over", median["shm in place"], peers, None,
             IN_PLACE_GOAL_S, n),
        _row("16 MiB array copied in: handed over", median["shm array"], peers,
             median["memcpy"], COPIED_GOAL * median["memcpy"], n),
    ]  # fmt: skip
    if has_zmq:
        ratio = median["pyzmq array"] / median["shm in place"]
        row = _row("… in place, times faster than pyzmq", ratio, {}, None, TIMES_PYZMQ, n)
        found.append({**row, "unit": "1", "better": "higher"})
    for size in (64, 4096):
        others = {"ours over tcp": median[f"tcp {size}"]}
        if has_zmq:
            others["pyzmq ipc, blocking"] = median[f"pyzmq {size}"]
        found.append(
            _row(f"{size} bytes there and back", median[f"shm {size}"], others, None,
                 median[f"tcp {size}"], len(samples["shm 64"]))
        )  # fmt: skip
    return found


def _row(
    name: str, ours: float, peers: dict[str, float], limit: float | None, goal: float, n: int
) -> Row:
    return {
        "name": name, "unit": "s", "better": "lower", "ours": ours, "peers": peers,
        "limit": limit, "goal": goal, "n": n, "note": f"two processes, {os.cpu_count()} cores",
    }  # fmt: skip


async def _measure() -> tuple[Samples, bool]:
    samples: Samples = {}
    async with AsyncExitStack() as stack:
        peers: dict[str, Peer] = {}
        for transport in ("shm", "tcp"):
            peers[transport] = await stack.enter_async_context(_ours(transport))
        with suppress(ImportError):
            peers["pyzmq"] = stack.enter_context(_zmq())
        array, other = np.ones(BIG, np.uint8), np.ones(BIG, np.uint8)
        for number in range(ROUNDS + _WARM_UP):
            now: Samples = {}
            await _arrays(peers, array, other, now)
            for name, peer in peers.items():
                for size in (64, 4096):
                    data = b"x" * size
                    for _ in range(SHORT):
                        began = time.perf_counter()
                        await peer.echo(data)
                        _add(now, f"{name} {size}", time.perf_counter() - began)
            if number >= _WARM_UP:
                for name, values in now.items():
                    samples.setdefault(name, []).extend(values)
    return samples, "pyzmq" in peers


async def _arrays(
    peers: dict[str, Peer], array: NDArray[Any], other: NDArray[Any], now: Samples
) -> None:
    """A few arrays each way of handing them over, and as many times a memcpy."""
    for _ in range(ARRAYS):
        began = time.perf_counter()
        other[:] = array
        _add(now, "memcpy", time.perf_counter() - began)
    for name, peer in peers.items():
        for _ in range(ARRAYS):
            _add(now, f"{name} array", await peer.hand_over(array))
    shared = peers["shm"]
    assert isinstance(shared, _Ours)
    for _ in range(ARRAYS):
        filled = shared.mesh.output("out").empty(BIG, np.uint8)
        filled[:] = array
        _add(now, "shm in place", await shared.hand_over(filled))


def _add(samples: Samples, name: str, seconds: float) -> None:
    samples.setdefault(name, []).append(seconds)


# --- ours ----------------------------------------------------------------------------------------


class _Ours:
    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self._out, self._in = mesh.output("out"), mesh.input("in")

    async def hand_over(self, array: NDArray[Any]) -> float:
        began = time.perf_counter()
        await self._out.send(array)
        there: float = (await self._in.receive()).value
        return there - began

    async def echo(self, data: bytes) -> None:
        await self._out.send(data)
        await self._in.receive()


@asynccontextmanager
async def _ours(transport: str) -> AsyncIterator[_Ours]:
    with tempfile.TemporaryDirectory(prefix="otter-bench-") as folder:
        ports = [str(port) for port in _free_ports(2)]
        with _process(transport, folder, *ports):
            async with Mesh(_wiring("a", transport, folder, *ports)) as mesh:
                try:
                    yield _Ours(mesh)
                finally:
                    await mesh.output("out").send(None)


def _wiring(module: str, transport: str, folder: str, there: str, back: str) -> Wiring:
    def end(port_name: str, stream: str, port: str) -> StreamEnd:
        path = f"{folder}/{port}" if transport == "shm" else ""
        return StreamEnd(stream, port_name, "x", _HERE, int(port), transport, path=path)

    forth, home = ("a.out>b.in", there), ("b.out>a.in", back)
    out, into = (forth, home) if module == "a" else (home, forth)
    return Wiring("bench", module, "h", _HERE, (end("in", *into),), (end("out", *out),))


async def _answer(transport: str, folder: str, there: str, back: str) -> None:
    """The other module: says when it had an array, and echoes what is short."""
    async with Mesh(_wiring("b", transport, folder, there, back)) as mesh:
        out = mesh.output("out")
        async for message in mesh.input("in"):
            if message.value is None:
                return
            large = isinstance(message.value, np.ndarray)
            await out.send(time.perf_counter() if large else message.value)


def _free_ports(count: int) -> list[int]:
    socks = [socket.socket() for _ in range(count)]
    for sock in socks:
        sock.bind((_HERE, 0))
    ports = [sock.getsockname()[1] for sock in socks]
    for sock in socks:
        sock.close()
    return ports


# --- pyzmq ---------------------------------------------------------------------------------------


class _Zmq:
    def __init__(self, sock: Any) -> None:
        self._socket = sock

    async def hand_over(self, array: NDArray[Any]) -> float:
        began = time.perf_counter()
        self._socket.send(array, copy=False)
        (there,) = _TIME.unpack(self._socket.recv())
        return float(there) - began

    async def echo(self, data: bytes) -> None:
        self._socket.send(data)
        self._socket.recv()


@contextmanager
def _zmq() -> Iterator[_Zmq]:
    import zmq

    with tempfile.TemporaryDirectory(prefix="otter-bench-") as folder, zmq.Context() as context:
        sock = context.socket(zmq.PAIR)
        sock.bind(f"ipc://{folder}/s")
        with _process("pyzmq", folder):
            try:
                yield _Zmq(sock)
            finally:
                sock.send(b"")
                sock.recv()
                sock.close(linger=0)


def _answer_zmq(folder: str) -> None:
    import zmq

    with zmq.Context() as context, context.socket(zmq.PAIR) as sock:
        sock.connect(f"ipc://{folder}/s")
        while True:
            frame = sock.recv(copy=False)
            if len(frame.buffer) > 2**20:
                array = np.frombuffer(frame.buffer, np.uint8)
                sock.send(_TIME.pack(time.perf_counter()))
                del array
            else:
                sock.send(frame.bytes)
            if not len(frame.buffer):
                return


@contextmanager
def _process(*args: str) -> Iterator[None]:
    command = [sys.executable, "-m", "benchmarks.shared_memory", *args]
    with subprocess.Popen(command, cwd=Path(__file__).parents[1]) as child:
        try:
            yield
            child.wait(30)
        finally:
            if child.poll() is None:
                child.kill()


def main(argv: list[str]) -> None:
    """The other process of a pair."""
    run: Callable[..., Any] = _answer_zmq
    if argv[0] == "pyzmq":
        run(argv[1])
    else:
        asyncio.run(_answer(*argv))


if __name__ == "__main__":
    main(sys.argv[1:])
