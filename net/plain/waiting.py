"""What a task waits for, and whose next message that is. In C: `net/_short_waiter.c`, `_desk.c`.

Must not know: connections, what messages are.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Generator
from contextvars import Context
from typing import Any, Self


class Waiter:
    """What one task waits for, once: it can let the task go on before `wake` returns.

    A future's callbacks run in the loop's next turn, which costs another look at all sockets. It
    is to asyncio's tasks what a future is, and to nobody else.

    Args:
        loop: The task's.
    """

    __slots__ = ("_asyncio_future_blocking", "_callback", "_context", "_loop", "_state")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._asyncio_future_blocking = False
        self._callback: Callable[[Any], object] | None = None
        self._context: Context | None = None
        self._state = _PENDING

    def __await__(self) -> Generator[Any, None, None]:
        if self._state == _PENDING:
            self._asyncio_future_blocking = True
            yield self

    def wake(self) -> None:
        """Let the task go on, before this returns. Not from within a task. Idempotent."""
        if self._state == _PENDING:
            self._state = _DONE
            callback, self._callback = self._callback, None
            if callback is not None:
                assert self._context is not None
                self._context.run(callback, self)

    def wake_soon(self) -> None:
        """Let it go on in the loop's next turn. Idempotent."""
        if self._state == _PENDING:
            self._state = _DONE
            self._tell_soon()

    def _tell_soon(self) -> None:
        callback, self._callback = self._callback, None
        if callback is not None:
            self._loop.call_soon(callback, self, context=self._context)

    # what a task says to a future

    def add_done_callback(
        self, callback: Callable[[Any], object], *, context: Context | None = None
    ) -> None:
        """The task waits."""
        self._callback, self._context = callback, context

    def cancel(self, msg: object = None) -> bool:
        """The task is cancelled; whether it waited."""
        if self._state != _PENDING:
            return False
        self._state = _CANCELLED
        self._tell_soon()
        return True

    def result(self) -> None:
        """Nothing; raises `CancelledError` if it was cancelled."""
        if self._state == _CANCELLED:
            raise asyncio.CancelledError

    def done(self) -> bool:
        """Whether it was woken, or cancelled."""
        return self._state != _PENDING

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self._state == _CANCELLED

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The task's."""
        return self._loop


_PENDING, _DONE, _CANCELLED = range(3)


class Desk:
    """An input, as whoever waits for its next message sees it; `net.inbox.Inbox` is the rest of it.

    What is queued (`take_now`), and the end (`raise_if_ended`), are the subclass's.
    """

    __slots__ = (
        "_clock", "_closed", "_current", "_discarding", "_ended", "_items", "_loop", "by_hand",
        "on_message", "waiters",
    )  # fmt: skip

    waiters: deque[Waiter]
    on_message: Callable[[Any], object] | None
    by_hand: bool
    _items: deque[Any]
    _current: Any
    _clock: Callable[[], float]
    _loop: asyncio.AbstractEventLoop | None
    _closed: bool
    _ended: bool
    _discarding: bool

    def take_now(self) -> Any:
        """The next message, if there is one."""
        raise LookupError("nothing is queued here")

    def raise_if_ended(self) -> None:
        """Raise `ConnectionClosed` if nothing more will come."""

    def _get_loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    def _gave_up(self, waiter: Waiter) -> None:
        """Its task was cancelled; if it had been woken already, somebody else is instead."""

    async def next(self) -> Any:
        """The next message; raises what `raise_if_ended` does. Cancellation: none is lost."""
        while (message := self.take_now()) is None:
            self.raise_if_ended()
            await self._something()
        return message

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        while (message := self.take_now()) is None:
            if self._ended or self._closed:
                raise StopAsyncIteration
            await self._something()
        return message

    async def _something(self) -> None:
        """Wait until something has come, or the end; another may have taken it."""
        if self._loop is None:
            self._loop = self._get_loop()
        waiter = Waiter(self._loop)
        self.waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            self._gave_up(waiter)
            raise
