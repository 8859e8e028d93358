"""The two ends a module holds: inputs to take messages from, outputs to send values to.

Must not know: how messages travel (`net.stream`), files.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from net.errors import ConnectionClosed, TransportError
from net.listener import Inbox
from net.messages import Message
from net.stream import Sender
from net.values import pack

if TYPE_CHECKING:
    from net.mesh import Mesh


class Input:
    """One input: `async for message in input`, or `await input.receive()`.

    A message counts as done when the next one is taken, or a reply to it is sent.
    """

    def __init__(self, mesh: Mesh, inbox: Inbox) -> None:
        self._mesh = mesh
        self._inbox = inbox
        self._current: Message | None = None

    @property
    def name(self) -> str:
        """As the topology names it."""
        return self._inbox.name

    async def receive(self) -> Message:
        """The next message.

        Raises:
            ConnectionClosed: All its senders have ended.

        Cancellation: no message is lost.
        """
        self._mesh.use()
        self.finish()
        self._current = await self._inbox.take()
        return self._current

    def __aiter__(self) -> Input:
        return self

    async def __anext__(self) -> Message:
        try:
            return await self.receive()
        except ConnectionClosed:
            raise StopAsyncIteration from None

    def finish(self) -> None:
        """The module is done with the message it took last."""
        if self._current is not None:
            self._mesh.finish(self._current)
            self._current = None


class Output:
    """One output, and all streams that leave it."""

    def __init__(self, mesh: Mesh, name: str, senders: list[Sender]) -> None:
        self._mesh = mesh
        self.name = name
        self._senders = senders

    async def send(self, value: Any, *, reply_to: Message | str | None = None) -> str:
        """Send a value down every stream of this output; returns the message's id.

        It waits while a receiver isn't there or its queue is full. Afterwards arrays may change.

        Args:
            value: numpy arrays, str, bytes, numbers, None, or lists and dicts of these.
            reply_to: The message that this one answers, which is done with that.

        Raises:
            LocalWireError: The value can't be sent.
            MessageTooLarge: It is larger than a receiver accepts.
            StreamRefused: A receiver doesn't want the stream.

        Cancellation: each stream gets the whole message or nothing.
        """
        made = self._mesh.clock()
        self._mesh.use()
        answered = reply_to.id if isinstance(reply_to, Message) else reply_to
        packed = pack(value)
        if isinstance(reply_to, Message):
            self._mesh.finish(reply_to, made)
        message_id = next(self._mesh.ids)
        first, *others = self._senders
        if not others:
            await first.deliver(packed, message_id, answered, made)
            return message_id
        try:
            async with asyncio.TaskGroup() as group:
                for sender in self._senders:
                    group.create_task(sender.deliver(packed, message_id, answered, made))
        except* TransportError as errors:
            raise errors.exceptions[0] from None
        return message_id
