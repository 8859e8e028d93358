"""Starts the pairs of a case and gives them turns. Must not know: any peer.

A contender that can't take part, or fails, is named with the reason, and the others go on. All
processes end with this one: their standard input does.
"""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
import itertools
import json
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.row import NotHere
from benchmarks.transport.cases import Case
from benchmarks.transport.contenders import CONTENDERS, missing
from benchmarks.transport.figures import ONE_CPU, TWO_CPUS, Figures, Results
from benchmarks.transport.peer import HERE

START_S = 20.0
TURN_S = 120.0
END_S = 5.0
LINE_BYTES = 1 << 26
ROOT = Path(__file__).parents[2]

_FAILURES = (NotHere, TimeoutError, OSError, RuntimeError, ValueError)


async def measure(case: Case, rounds: int | None = None, times: float = 1.0) -> Results:
    """Every contender in every placement.

    Args:
        case: What is exchanged.
        rounds: Turns that each has; default: the case's.
        times: So many times the messages per turn that the case has.
    """
    task = asyncio.current_task()
    assert task is not None
    # As Ctrl-C does: everything is ended and removed.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    count = max(1, round(case.count * times))
    case = dataclasses.replace(case, rounds=rounds or case.rounds, count=count)
    results = Results(case.rounds, count)
    for name in case.contenders:
        if why := missing(name):
            results.absent[name] = why
    for placement, cpus in placements().items():
        print(f"transport: {case.title}, {placement}", file=sys.stderr, flush=True)
        await _measure_placement(case, placement, cpus, results)
    return results


def placements() -> dict[str, tuple[list[int], list[int]]]:
    """In words -> the CPUs of the listening end and of the other; the last ones of this machine."""
    allowed = sorted(os.sched_getaffinity(0))
    found = {ONE_CPU: ([allowed[-1]], [allowed[-1]])}
    if len(allowed) > 1:
        found[TWO_CPUS] = ([allowed[-2]], [allowed[-1]])
    return found


async def _measure_placement(
    case: Case, placement: str, cpus: tuple[list[int], list[int]], results: Results
) -> None:
    async with AsyncExitStack() as stack:
        pairs: dict[str, Pair] = {}
        for name in case.contenders:
            if name in results.absent:
                continue
            try:
                pairs[name] = await stack.enter_async_context(started(case, name, cpus))
            except _FAILURES as why:
                results.absent[name] = _reason(why)
        for turn in range(case.rounds):
            order = list(pairs)
            shift = turn % len(order) if order else 0  # nobody always follows the same one
            for name in order[shift:] + order[:shift]:
                figures = results.taken.setdefault((placement, name), Figures())
                try:
                    async with asyncio.timeout(TURN_S):
                        await pairs[name].take_turn(figures)
                except _FAILURES as why:
                    results.absent[name] = f"{placement}: {_reason(why)}"
                    results.taken.pop((placement, name))
                    del pairs[name]


def _reason(why: BaseException) -> str:
    return str(why) or f"no answer in time ({type(why).__name__})"


class Pair:
    """Two processes that have met."""

    def __init__(self, case: Case, listening: Process, dialling: Process) -> None:
        self._case, self._listening, self._dialling = case, listening, dialling

    async def take_turn(self, figures: Figures) -> None:
        """Add what one turn gives."""
        turn = {"warm": self._case.warm, "count": self._case.count}
        self._listening.tell(turn)
        self._dialling.tell(turn)
        if self._case.pattern == "echo":
            figures.samples_s += (await self._dialling.hear("done"))["samples"]
            await self._listening.hear("done")
            return
        await self._listening.hear("warm")
        self._dialling.tell({})
        begin = (await self._dialling.hear("done"))["begin"]
        arrivals = (await self._listening.hear("done"))["arrivals"]
        times = [begin, *arrivals]
        figures.samples_s += [b - a for a, b in itertools.pairwise(times)]
        figures.rates.append(len(arrivals) / (times[-1] - begin))


class Process:
    """A side, and the lines that go to it and come from it."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process, self._log = process, log

    def tell(self, what: dict[str, int]) -> None:
        """One line to it."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(what).encode() + b"\n")

    async def hear(self, what: str) -> dict[str, Any]:
        """Its next line, which is to say `what`."""
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        if not line:
            status = await self.process.wait()
            raise RuntimeError(self.last_words() or f"it ended with {status}")
        said: dict[str, Any] = json.loads(line)
        if said["is"] != what:
            raise RuntimeError(f"said {said['is']} instead of {what}")
        return said

    def last_words(self) -> str:
        """The last line of its errors."""
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""


@asynccontextmanager
async def started(case: Case, name: str, cpus: tuple[list[int], list[int]]) -> AsyncIterator[Pair]:
    """Both ends, and the server between them if it needs one; ended afterwards.

    Raises:
        NotHere: The server isn't installed.
        RuntimeError: An end failed, or they didn't meet; the last line of what they said.
    """
    contender = CONTENDERS[name]
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="otter-transport-")))
        ports = free_ports()
        if contender.broker:
            peer = importlib.import_module(f"benchmarks.transport.peers.{contender.peer}")
            argv = peer.broker(ports[1], folder)
            both = sorted({*cpus[0], *cpus[1]})
            await stack.enter_async_context(_running(argv, both, folder / "broker.log"))
            await _listens(ports[1])
        ends = []
        for end, where in zip(("listen", "dial"), cpus, strict=True):
            argv = [sys.executable, "-m", "benchmarks.transport.side", name, case.name, end]
            argv += [*map(str, ports), str(folder)]
            log = folder / f"{end}.log"
            process = await stack.enter_async_context(_running(argv, where, log))
            ends.append(Process(process, log))
        await _met(ends)
        yield Pair(case, *ends)


async def _met(ends: Sequence[Process]) -> None:
    try:
        async with asyncio.timeout(START_S):
            for each in ends:
                await each.hear("ready")
    except TimeoutError:
        words = "; ".join(filter(None, (each.last_words() for each in ends)))
        raise RuntimeError(f"the ends didn't meet in {START_S:g} s: {words}") from None


@asynccontextmanager
async def _running(
    argv: Sequence[str], cpus: list[int], log: Path
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process on these CPUs; it ends with its standard input, by a signal if it must."""
    pipe = asyncio.subprocess.PIPE
    with _on(cpus), log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=pipe, stdout=pipe, stderr=errors, cwd=ROOT, limit=LINE_BYTES
        )
    try:
        yield process
    finally:
        await _end(process, gently=argv[0] == sys.executable)


async def _end(process: asyncio.subprocess.Process, *, gently: bool) -> None:
    if process.returncode is not None:
        return
    assert process.stdin is not None
    process.stdin.close()
    if not gently:
        process.terminate()
    try:
        async with asyncio.timeout(END_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


@contextmanager
def _on(cpus: list[int]) -> Iterator[None]:
    """What is started meanwhile runs on these CPUs, with all threads that it will have."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


async def _listens(port: int) -> None:
    """Wait until somebody does."""
    async with asyncio.timeout(START_S):
        while True:
            try:
                _, writer = await asyncio.open_connection(HERE, port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return


def free_ports() -> tuple[int, int]:
    """Two that nobody has."""
    with socket.create_server((HERE, 0)) as first, socket.create_server((HERE, 0)) as second:
        return first.getsockname()[1], second.getsockname()[1]
