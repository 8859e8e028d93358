"""An event loop in a thread of its own, and how other threads have things done there.

Who asks waits, in its own loop (`call`) or without one (`wait`). Who stops waiting, cancelled or by
Ctrl-C, first waits until what was asked for has stopped as well: half of it is never left behind.
Must not know: what is done.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, Generic, TypeVar

from net.loops import new_event_loop

T = TypeVar("T")

SIGNAL_S = 0.2
"""Longest that a signal waits for its handler while `wait` does."""
Work = Callable[[], Coroutine[Any, Any, T]]


class _Job(Generic[T]):
    """Something to be done, and what came of it."""

    def __init__(
        self, work: Work[T], quick: Callable[[], T | None] | None, tell: Callable[[], None]
    ) -> None:
        self.work, self.quick, self.tell = work, quick, tell
        self.task: asyncio.Task[None] | None = None
        self.over = False
        self.result: T | None = None
        self.error: BaseException | None = None

    def cancel(self) -> None:
        """Called in the thread, after its start, if there was one."""
        if self.task is not None:
            self.task.cancel()
        elif not self.over:
            self.end(asyncio.CancelledError())

    def never_began(self, task: asyncio.Task[None]) -> None:
        """Called when the task is done: it may have been cancelled before its first step."""
        if not self.over:
            self.end(asyncio.CancelledError())

    def end(self, error: BaseException | None = None) -> None:
        """It is over: tell who waits."""
        self.error = self.error or error
        self.over = True
        self.tell()

    def outcome(self) -> T:
        """Its result, or its error raised."""
        if self.error is not None:
            raise self.error
        return self.result  # type: ignore[return-value]  # None is a result as well


class LoopThread:
    """Use with `with`; all that is asked for must have ended before its end."""

    def __init__(self, name: str = "otter-transport") -> None:
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._started = threading.Event()
        self._error: BaseException | None = None

    def __enter__(self) -> LoopThread:
        self._thread.start()
        self._started.wait()
        if self._error is not None:
            raise self._error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=new_event_loop) as runner:
                runner.run(self._serve())
        except BaseException as exc:  # noqa: BLE001 - whoever started it shall have it
            self._error = exc
        finally:
            self._started.set()

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        async with asyncio.TaskGroup() as self._group:
            self._started.set()
            await self._stop.wait()

    # --- in the thread -----------------------------------------------------------------------

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Begin something that may not fail. Only in the thread."""
        return self._group.create_task(work)

    @property
    def here(self) -> bool:
        """Whether the caller runs in the thread."""
        return threading.current_thread() is self._thread

    def _begin(self, job: _Job[T]) -> None:
        if job.quick is not None:
            try:
                job.result = job.quick()
            except Exception as exc:  # noqa: BLE001 - it is raised where it was asked for
                job.error = exc
            if job.result is not None or job.error is not None:
                job.end()
                return
        job.task = self._group.create_task(self._do(job))
        job.task.add_done_callback(job.never_began)

    @staticmethod
    async def _do(job: _Job[T]) -> None:
        try:
            job.result = await job.work()
        except BaseException as exc:  # noqa: BLE001 - it is raised where it was asked for
            job.error = exc
        job.end()

    # --- from elsewhere ----------------------------------------------------------------------

    async def call(
        self,
        work: Work[T],
        *,
        quick: Callable[[], T | None] | None = None,
        keep: Callable[[T], None] | None = None,
    ) -> T:
        """Have something done in the thread; waits in the caller's event loop.

        Args:
            work: Makes the coroutine.
            quick: Tried first; None as its result: `work` is needed.
            keep: Gets a result that came although the caller was cancelled.

        Cancellation: the coroutine is cancelled and has ended.
        """
        loop = asyncio.get_running_loop()
        waiter = [loop.create_future()]

        def arrived() -> None:
            if not waiter[0].done():
                waiter[0].set_result(None)

        def tell() -> None:
            loop.call_soon_threadsafe(arrived)

        job = _Job(work, quick, tell)
        self.loop.call_soon_threadsafe(self._begin, job)
        try:
            await waiter[0]
        except asyncio.CancelledError:
            self.loop.call_soon_threadsafe(job.cancel)
            while not job.over:
                waiter[0] = loop.create_future()
                if job.over:
                    break
                try:
                    await waiter[0]
                except asyncio.CancelledError:
                    self.loop.call_soon_threadsafe(job.cancel)
            if job.error is None and keep is not None:
                keep(job.outcome())
            raise
        return job.outcome()

    def wait(
        self,
        work: Work[T],
        *,
        quick: Callable[[], T | None] | None = None,
        keep: Callable[[T], None] | None = None,
    ) -> T:
        """`call` without an event loop: blocks.

        Raises:
            KeyboardInterrupt: Ctrl-C; the coroutine was cancelled and has ended.
        """
        done = threading.Lock()
        done.acquire()
        job = _Job(work, quick, done.release)

        def wait() -> None:
            # A signal that comes just before the kernel is asked to wait doesn't end the wait.
            while not job.over:
                done.acquire(timeout=SIGNAL_S)

        try:
            self.loop.call_soon_threadsafe(self._begin, job)
            wait()  # signals' handlers run meanwhile
        except BaseException:  # one of them raised, at any moment
            self.loop.call_soon_threadsafe(job.cancel)
            wait()
            if job.error is None and keep is not None:
                keep(job.outcome())
            raise
        return job.outcome()

    def soon(self, what: Callable[[], object]) -> None:
        """Have something small done in the thread, without waiting; at once if this is it.

        Not at all if the thread has ended.
        """
        if self.here:
            what()
        else:
            with suppress(RuntimeError):  # its loop is closed
                self.loop.call_soon_threadsafe(what)
