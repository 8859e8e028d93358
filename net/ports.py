"""The two ends a module holds: inputs to take messages from, outputs to send values to.

Must not know: how messages travel, files.
"""

from __future__ import annotations

import asyncio
import hashlib
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from net.errors import TransportError
from net.ids import DERIVED, message_id
from net.inbox import Inbox
from net.messages import Message, Parcel
from net.outlets import Lends, Outlet, Quick, Shape
from net.values import pack

if TYPE_CHECKING:
    from net.mesh import Mesh

_QUICK = (bytes, np.ndarray)
"""Values for which a stream may have a shorter way."""
_HALVES = struct.Struct("!QQ")


class Input:
    """One input: `async for message in input`, or `await input.receive()`.

    A message counts as done, and is acknowledged to its sender, when the next one is taken. A
    module that works on several at once sets `by_hand`, and says `message.done()` itself.
    """

    def __init__(self, mesh: Mesh, inbox: Inbox) -> None:
        self._mesh = mesh
        self._inbox = inbox
        self._current: Message | None = None
        self._at_work: list[Message] = []

    @property
    def by_hand(self) -> bool:
        """Whether only `message.done()` says that a message is done with."""
        return self._inbox.by_hand

    @by_hand.setter
    def by_hand(self, value: bool) -> None:
        self._inbox.by_hand = value

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
        self._begin()
        message: Message = await self._inbox.next()
        if self._current is not None:
            self._leave()
        self._current = message
        return message

    def receive_now(self) -> Message | None:
        """The next message, if there is one."""
        self._begin()
        self._current = message = self._inbox.take_now()
        return message

    def _begin(self) -> None:
        """The module asks for the next one: what it took before, it is done with."""
        mesh = self._mesh
        if mesh.reporter.asleep or mesh.unanswered or not mesh.said_ready:
            mesh.use()
        if self._current is not None:
            self._leave()

    def _leave(self) -> None:
        """The next one is taken, or asked for: by this task or, meanwhile, by another."""
        former, self._current = self._current, None
        if former is not None and not former.recorded:
            if self._inbox.by_hand:
                self._settle(former)
            else:
                self._mesh.record(former, self._mesh.clock())

    def __aiter__(self) -> Input:
        return self

    async def __anext__(self) -> Message:
        self._begin()
        message: Message = await self._inbox.__anext__()
        if self._current is not None:
            self._leave()
        self._current = message
        return message

    def _settle(self, former: Message) -> None:
        """Record what the module has said to be done with; it may be at several at once."""
        now, at_work = self._mesh.clock(), []
        for message in (*self._at_work, former):
            if message.finished:
                self._mesh.record(message, now)
            elif not message.recorded:
                at_work.append(message)
        self._at_work = at_work

    def _left(self) -> list[Message]:
        """What it was at, the last one too; nothing from now on."""
        left, self._at_work = self._at_work, []
        message, self._current = self._current, None
        return left if message is None else [*left, message]

    def finish(self) -> None:
        """The module is done with what it took; by hand: with what it said so of."""
        for message in self._left():
            done = message.finished or not self._inbox.by_hand
            self._mesh.record(message, self._mesh.clock(), "done" if done else "failed")
        self._inbox.finish()

    def stats(self, now: float) -> list[dict[str, Any]]:
        """What each of its streams has brought: `Mesh.stats`."""
        found = []
        for edge in self._inbox.edges.values():
            edge.stats.waiting = len(edge.waiting)
            found.append({"input": self.name, **edge.stats.summary(now)})
        return found

    def abandon(self) -> None:
        """The module isn't done with what it took, and isn't going to be."""
        for message in self._left():
            self._mesh.record(message, self._mesh.clock(), "failed")
        self._inbox.abandon()


class Output:
    """One output, and all streams that leave it."""

    def __init__(self, mesh: Mesh, name: str, outlets: Sequence[Outlet]) -> None:
        self._mesh = mesh
        self.name = name
        self._outlets = outlets
        self._only = outlets[0] if len(outlets) == 1 else None
        self._at_once = self._only.at_once if isinstance(self._only, Quick) else _not_at_once
        self._derives = any(outlet.exactly_once for outlet in outlets)

    async def send(
        self,
        value: Any,
        *,
        reply_to: Message | str | None = None,
        within_s: float | None = None,
        key: str | None = None,
    ) -> str:
        """Send a value down every stream of this output; returns the message's id.

        It waits while a receiver isn't there or its queue is full (unless the stream's policy
        drops). Afterwards arrays may change.

        Args:
            value: Arrays (numpy's, torch's, TensorFlow's), str, bytes, numbers, None, or lists and
                dicts of these.
            reply_to: The message that this one answers.
            within_s: After so many seconds nobody wants it: it is dropped wherever it waits.
            key: Makes the id: the same key gives the same id, also after a restart, so that a
                source that starts over is not heard twice (`exactly-once`).

        Raises:
            LocalWireError: The value can't be sent.
            MessageTooLarge: It is larger than a receiver accepts.
            StreamRefused: A receiver doesn't want the stream.

        Cancellation: each stream gets the whole message or nothing.
        """
        mesh = self._mesh
        made = mesh.clock()
        if mesh.reporter.asleep or mesh.unanswered or not mesh.said_ready:
            mesh.use()
        run, number = mesh.run, next(mesh.numbers)
        question: Message | None = None
        if isinstance(reply_to, Message):
            question, reply_to = reply_to, reply_to.id
        if (
            type(value) in _QUICK
            and key is None
            and within_s is None
            and not self._derives
            and (question is None or not question.exactly_once)
            and self._at_once(value, run, number, reply_to, made)
        ):
            if question is not None:
                mesh.record(question, made)
            return f"{mesh.id_start}{number}"
        packed = pack(value)
        if question is not None:
            mesh.record(question, made)
            if self._derives and key is None:
                question.answers += 1
                key = f"{reply_to}|{question.answers}"
        if key is not None:
            run, number = derived(mesh.module, self.name, key)
        expires = made + within_s if within_s is not None else 0.0
        parcel = Parcel(packed, run, number, reply_to, made, expires)
        if question is not None and question.exactly_once:
            await self._answer(parcel, question)
        elif self._only is not None:
            await self._only.deliver(parcel)
        else:
            await self._to_all(parcel)
        return message_id(mesh.module, run, number)

    async def _to_all(self, parcel: Parcel) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for outlet in self._outlets:
                    group.create_task(outlet.deliver(parcel))
        except* TransportError as errors:
            raise errors.exceptions[0] from None

    async def _answer(self, parcel: Parcel, question: Message) -> None:
        """The question is acknowledged only after all receivers have acknowledged the answer."""
        holds = [question.hold() for _ in self._outlets]
        sends: list[asyncio.Task[None]] = []
        try:
            async with asyncio.TaskGroup() as group:
                for outlet, hold in zip(self._outlets, holds, strict=True):
                    sends.append(group.create_task(outlet.deliver(parcel, hold.let_go)))
        except* TransportError as errors:
            raise errors.exceptions[0] from None
        finally:
            for hold, task in zip(holds, sends, strict=True):
                if task.cancelled() or task.exception() is not None:
                    self._mesh.unanswered.append(hold)

    def empty(self, shape: Shape, dtype: Any = float) -> NDArray[Any]:
        """An array to fill and send: on a stream through shared memory without a copy.

        Where there is no shared memory, or no room in it now, it is an array like any other. One
        in shared memory belongs to the receiver once it was sent: it is read-only from then on.

        Args:
            shape: As for `numpy.empty`.
            dtype: As for `numpy.empty`.
        """
        for outlet in self._outlets:
            if isinstance(outlet, Lends):
                array = outlet.empty(shape, dtype)
                if array is not None:
                    return array
        return np.empty(shape, dtype)

    async def flush(self) -> None:
        """Wait until the receivers have acknowledged all that was sent.

        Raises:
            StreamRefused: A receiver doesn't want the stream.
            ConnectionClosed: A stream has been closed here.
        """
        for outlet in self._outlets:
            await outlet.flush()

    def stats(self, now: float) -> list[dict[str, Any]]:
        """What each of its streams has carried: `Mesh.stats`."""
        return [{"output": self.name, **each.stats().summary(now)} for each in self._outlets]


def _not_at_once(*_: Any) -> bool:
    """There are several streams, or its one has no shorter way."""
    return False


def derived(module: str, output: str, key: str) -> tuple[int, int]:
    """The id that follows from a key: the same in every life of the module."""
    text = f"{module}|{output}|{key}".encode()
    run, number = _HALVES.unpack(hashlib.blake2b(text, digest_size=16).digest())
    return run | DERIVED, number
