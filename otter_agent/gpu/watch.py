"""Keeps the reader of GPUs running where there is a driver, asks it, and hands on its news.

Must not know: NVML, HTTP, meshes.
"""

from __future__ import annotations

import asyncio
import os
import select
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal

import otter_agent
from otter_agent import api
from otter_agent.gpu.words import Limit, LimitOrder, Line, News

ANSWER_S = 5.0
"""A reader that takes longer hangs in the driver: a new one is started."""
START_S = 20.0
"""Until a reader says that it has begun: a slow machine takes its time to load it. It says so
before it asks the driver, so one that hangs there is met after `ANSWER_S`."""
LOOK_S = 10.0
"""Between two looks whether a driver has come."""
LONGEST_LOOK_S = 60.0
"""Between two readers, where no driver answers; 1 s at first, doubled each time."""
LASTED_S = 10.0
"""A reader that lasted so long found its driver."""
END_S = 1.0
LIBRARY = "libnvidia-ml.so.1"
NO_DRIVER = f"no NVIDIA driver here ({LIBRARY})"
_CACHE = Path("/etc/ld.so.cache")
_FOLDERS = ("/usr/lib/wsl/lib", "/usr/lib64", "/usr/lib", "/lib")
_LONGEST_LINE = 1 << 22


class Gpus:
    """The machine's.

    Args:
        folder: Of the agent, for whoever lists processes.
        tell: Called with what happens to GPUs.
        find: Tells where NVIDIA's library is.
    """

    def __init__(
        self, folder: Path, tell: Callable[[News], None], find: Callable[[], Path | None]
    ) -> None:
        self._folder = folder
        self._tell = tell
        self._find = find
        self._process: asyncio.subprocess.Process | None = None
        self._answers: deque[asyncio.Future[Line]] = deque()
        """In the order of what was asked: also of who asked and didn't wait for it."""
        self._turn = asyncio.Lock()
        self._looked = asyncio.Event()
        self._began = asyncio.Event()
        """Set when the reader has said something, or has ended."""
        self._hung = asyncio.Event()
        self._why = ""
        self._driver: Literal["unknown", "there", "lost"] = "unknown"
        """As it was told: a driver that was never there is no loss."""

    async def run(self) -> None:
        """Until cancelled."""
        failures = 0
        while True:
            if self._find() is None:
                self._why, pause_s = NO_DRIVER, LOOK_S
                self._missed(NO_DRIVER)
            else:
                failures = 1 if await self._read() > LASTED_S else failures + 1
                pause_s = min(2.0**failures / 2, LONGEST_LOOK_S)
                if failures > 1:  # one may have been killed; two end by themselves
                    self._missed(self._why)
            self._looked.set()
            await asyncio.sleep(pause_s)

    async def state(self) -> api.GpuState:
        """All GPUs, now; where the driver doesn't answer, why."""
        line = await self._ask(b"")
        if line is not None and line.state is not None:
            return line.state
        return api.GpuState(driver="nvml" if line else "none", why=self._why)

    async def limit(self, order: LimitOrder) -> Limit:
        """Set what a control group may have of a GPU's memory; what holds then."""
        line = await self._ask(api.encode(order))
        told = line.limit if line is not None else None
        return told or Limit(error=self._why or "what reads GPUs has ended")

    async def _ask(self, order: bytes) -> Line | None:
        """What the reader answers; None: there is none. It hangs: a line with nothing."""
        with suppress(TimeoutError):  # `wait_for` of 3.11 may swallow a cancellation
            async with asyncio.timeout(START_S):
                await self._looked.wait()
        async with self._turn:
            process = self._process
            if process is None or process.stdin is None or not await self._has_begun(process):
                return None
            answer: asyncio.Future[Line] = asyncio.get_running_loop().create_future()
            self._answers.append(answer)
            process.stdin.write(order + b"\n")
            try:
                async with asyncio.timeout(ANSWER_S):
                    return await answer
            except TimeoutError:
                self._why = f"NVIDIA's driver hasn't answered for {ANSWER_S:g} s"
                self._lost(self._why)
                self._give_up()
                return Line()

    async def _has_begun(self, process: asyncio.subprocess.Process) -> bool:
        """Whether this reader can be asked now; one that doesn't begin in time is given up."""
        try:
            async with asyncio.timeout(START_S):
                await self._began.wait()
        except TimeoutError:
            self._why = f"what reads GPUs hasn't begun within {START_S:g} s"
            self._missed(self._why)
            self._give_up()
        return self._process is process

    def _give_up(self) -> None:
        self._process = None
        self._hung.set()

    # --- the driver ------------------------------------------------------------------------------

    def _judge(self, state: api.GpuState) -> None:
        """Tell of a driver that goes, and of one that is back.

        The reader's own word of it may never come: whoever meets the loss first ends it.
        """
        if state.driver == "none":
            self._missed(state.why)
            return
        if self._driver == "lost":
            numbers = ", ".join(str(gpu.index) for gpu in state.gpus if not gpu.error)
            text = f"NVIDIA's driver answers again, of GPUs {numbers or 'none'}"
            self._tell(News(kind="back", text=text))
        self._driver = "there"

    def _missed(self, why: str) -> None:
        if self._driver == "there":
            self._lost(why)

    def _lost(self, why: str) -> None:
        if self._driver != "lost":
            self._driver = "lost"
            self._tell(News(kind="lost", text=why))

    # --- the reader ------------------------------------------------------------------------------

    async def _read(self) -> float:
        """Run one reader to its end; seconds that it lasted."""
        began = time.monotonic()
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", __package__, str(self._folder),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd="/",
                limit=_LONGEST_LINE, env=_environment(),
            )  # fmt: skip
        except OSError as error:
            self._why = f"what reads GPUs can't be started: {error.strerror or error}"
            return 0.0
        self._began.clear()
        self._process, self._why = process, ""
        self._answers.clear()  # those of one that hung never come
        self._hung.clear()
        self._looked.set()
        try:
            async with asyncio.TaskGroup() as group:
                taking = group.create_task(self._take_all(process))
                hung = group.create_task(self._hung.wait())
                await asyncio.wait((taking, hung), return_when=asyncio.FIRST_COMPLETED)
                taking.cancel()
                hung.cancel()
        finally:
            self._process = None
            await _end(process)
        return time.monotonic() - began

    async def _take_all(self, process: asyncio.subprocess.Process) -> None:
        """What a reader says, to its end."""
        while (line := await self._said(process)) is not None:
            self._began.set()
            if line.news is not None:
                self._tell(line.news)
            if line.state is not None:
                self._why = line.state.why
                self._judge(line.state)
            if line.state is not None or line.limit is not None:
                self._answered(line)
        self._process = None
        self._began.set()
        self._why = self._why or "what reads GPUs has ended; another is started soon"
        while self._answers:
            self._answered(Line(state=api.GpuState(why=self._why)))

    async def _said(self, process: asyncio.subprocess.Process) -> Line | None:
        """What a reader says next; None: nothing, or nothing that is understood."""
        assert process.stdout is not None
        try:
            data = await process.stdout.readline()
            return api.decode(data, Line) if data else None
        except ValueError as error:  # a driver's library may print; a `DecodeError` is one
            self._why = f"what reads GPUs isn't understood: {error}"
            return None

    def _answered(self, line: Line) -> None:
        if self._answers and not (answer := self._answers.popleft()).done():
            answer.set_result(line)


async def _end(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()
    with suppress(TimeoutError):  # it hangs in the kernel: it ends when the driver lets go of it
        await asyncio.wait_for(process.wait(), END_S)


def once(find: Callable[[], Path | None]) -> api.GpuState:
    """All GPUs, where no agent runs; blocking."""
    if find() is None:
        return api.GpuState(why=NO_DRIVER)
    try:
        lines = (api.decode(line, Line) for line in _said_once().splitlines())
        found = [line.state for line in lines if line.state is not None]
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return api.GpuState(why=f"what reads GPUs failed: {error}")
    return found[-1] if found else api.GpuState(why="what reads GPUs said nothing")


def _said_once() -> bytes:
    """What a reader that is asked once says after it has begun; blocking."""
    with subprocess.Popen(
        [sys.executable, "-P", "-m", str(__package__), "once"], bufsize=0, cwd="/",
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=_environment(),
    ) as process:  # fmt: skip
        assert process.stdout is not None
        try:
            select.select([process.stdout], [], [], START_S)
            return process.communicate(b"\n", timeout=ANSWER_S)[0]
        except BaseException:
            process.kill()
            raise


def _environment() -> dict[str, str]:
    """The agent's own: where the library is found, and what it heeds, may stand there."""
    return {**os.environ, "PYTHONPATH": str(Path(otter_agent.__file__).parent.parent)}


def library() -> Path | None:
    """Where the dynamic linker would find NVIDIA's library (ld.so(8)); None: nowhere."""
    for folder in (*os.environ.get("LD_LIBRARY_PATH", "").split(":"), *_FOLDERS):
        if folder and (found := Path(folder) / LIBRARY).exists():
            return found
    with suppress(OSError):
        if LIBRARY.encode() in _CACHE.read_bytes():
            return Path(LIBRARY)
    return None
