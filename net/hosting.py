"""A mesh whose sockets and event loop are in a thread of their own: what its users share.

`net.threaded` is for modules with an event loop of their own, `net.blocking` for those without one.
Must not know: either.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any

from net.messages import Carrier, Message
from net.thread import LoopThread


class Hosted:
    """Keeps an asynchronous context open in a thread, by one task from its start to its end.

    Args:
        thread: Where.
        context: A `Mesh`, or anything to be used with `async with`.
    """

    def __init__(self, thread: LoopThread, context: AbstractAsyncContextManager[Any]) -> None:
        self._thread, self._context = thread, context

    async def open(self) -> None:
        """Enter it. Runs in the thread."""
        loop = asyncio.get_running_loop()
        self._leave: asyncio.Future[BaseException | None] = loop.create_future()
        self._over: asyncio.Future[BaseException | None] = loop.create_future()
        opened: asyncio.Future[None] = loop.create_future()
        self._task = self._thread.spawn(self._keep(opened))
        self._task.add_done_callback(self._never_began)
        try:
            await asyncio.wait((opened, self._over), return_when="FIRST_COMPLETED")
        except asyncio.CancelledError:
            await self._cancel()
            raise
        if self._over.done() and (error := self._over.result()) is not None:
            raise error

    async def _keep(self, opened: asyncio.Future[None]) -> None:
        error: BaseException | None = None
        try:
            async with self._context:
                opened.set_result(None)
                error = await self._leave
                if error is not None:
                    raise error
        except BaseException as exc:  # noqa: BLE001 - raised by `open` or `close`
            error = exc
        finally:
            self._over.set_result(error)

    def _never_began(self, task: asyncio.Task[None]) -> None:
        """Called when the task is done: it may have been cancelled before its first step."""
        if not self._over.done():
            self._over.set_result(None)

    async def close(self, error: BaseException | None) -> None:
        """Leave it, with the error that its user leaves with. Runs in the thread."""
        if not self._leave.done():
            self._leave.set_result(error)
        try:
            found = await asyncio.shield(self._over)
        except asyncio.CancelledError:
            await self._cancel()
            raise
        if found is not None and found is not error:
            raise found

    async def _cancel(self) -> None:
        self._task.cancel()
        await asyncio.wait((self._over,))


class RemoteCarrier:
    """A message's carrier for a module in another thread: it hears of it in its own."""

    def __init__(self, thread: LoopThread, carrier: Carrier) -> None:
        self._thread, self._carrier = thread, carrier

    def taken(self, message: Message) -> None:
        """It has left the queue."""
        self._thread.soon(lambda: self._carrier.taken(message))

    def done(self, message: Message) -> None:
        """The module is done with it."""
        self._thread.soon(lambda: self._carrier.done(message))


def handed_over(thread: LoopThread, message: Message | None) -> Message | None:
    """The message as another thread may have it."""
    if message is not None and message.carrier is not None:
        message.carrier = RemoteCarrier(thread, message.carrier)
    return message
