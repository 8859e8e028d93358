"""Bytes of a stream in, events out; what is large is received into its final memory. Pure.

    scratch ──► preamble ──► control event
                   └──► header ──► all of it lies here? ──► message
                                     └──► large: metadata ──► buffer, zeros, buffer, … ──► message

Must not know: asyncio, sockets, the clock.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from net.errors import MessageTooLarge, RemoteWireError
from net.header import HEADER, MESSAGE, MESSAGE_START
from net.layouts import Layout, blocks, layout
from net.memory import ALIGN, Block, aligned
from net.messages import Message
from net.short import Scratch
from net.wire import (
    MAX_MESSAGE_BYTES,
    PREAMBLE,
    Event,
    Head,
    check_preamble,
    control_event,
)

_SCRATCH_BYTES = 256 * 1024
_SMALL_BYTES = 64 * 1024
"""Messages up to this size are taken from the scratch memory, many to a read."""
_DIRECT_BYTES = 16 * 1024
"""Less than this of a large buffer is received with what comes behind it."""


class Reader:
    """Fill `get_buffer()`, tell `buffer_updated(n)`, then call `next_event()` until it gives None.

    Args:
        limit_bytes: Bound of a message; nothing is allocated for one that announces more.
        messages: Whether a MESSAGE may come yet. If not, its preamble alone is an error: a peer
            that nobody knows can't make us hold more than a control message.
    """

    def __init__(self, limit_bytes: int = MAX_MESSAGE_BYTES, *, messages: bool = True) -> None:
        self._limit = limit_bytes
        self._messages = messages
        memory = bytearray(_SCRATCH_BYTES)
        self.scratch = Scratch(memory, Message, limit_bytes)
        self._memory, self._view = memory, memoryview(memory)
        self.large: _Large | None = None
        self._direct = False
        self._failed: RemoteWireError | MessageTooLarge | None = None

    @property
    def lacking(self) -> int:
        """Bytes without which nothing more can be done with what is large; at least 1."""
        large = self.large
        return 1 if large is None else max(1, len(large.target) - large.filled)

    def allow_messages(self) -> None:
        """From the next preamble on a MESSAGE may come."""
        self._messages = True

    def get_buffer(self, sizehint: int = -1) -> memoryview:
        """Memory to receive into, never empty, however much that is."""
        large = self.large
        if large is not None and len(large.target) - large.filled >= _DIRECT_BYTES:
            self._direct = True
            return large.target[large.filled :]
        self._direct = False
        self._make_room()
        return self._view[self.scratch.end :]

    def _make_room(self) -> None:
        """What lies in the scratch memory goes to its start, if there is little behind it."""
        scratch = self.scratch
        at, end = scratch.at, scratch.end
        if at == end:
            scratch.at = scratch.end = 0
        elif _SCRATCH_BYTES - at < 2 * _SMALL_BYTES or end == _SCRATCH_BYTES:
            self._view[: end - at] = bytes(self._view[at:end])
            scratch.at, scratch.end = 0, end - at

    def buffer_updated(self, nbytes: int) -> None:
        """`nbytes` have been written to the start of the last buffer."""
        if self._direct and self.large is not None:
            self.large.filled += nbytes
        else:
            self.scratch.end += nbytes

    def receive(self, fd: int) -> int:
        """Receive once from a socket that doesn't block; how much; 0: nothing more will come.

        Raises:
            OSError: As the system says, `BlockingIOError` if there is nothing.
        """
        if self.large is not None:
            count = os.readv(fd, (self.get_buffer(),))
            self.buffer_updated(count)
            return count
        if self.scratch:
            self._make_room()
        return self.scratch.receive(fd)

    def feed(self, data: bytes) -> Iterator[Event]:
        """The same for bytes that lie elsewhere: copied in; all events that are complete.

        Raises:
            RemoteWireError: As `next_event`.
            MessageTooLarge: As `next_event`.
        """
        rest = memoryview(data)
        while len(rest):
            buffer = self.get_buffer()
            count = min(len(buffer), len(rest))
            buffer[:count] = rest[:count]
            rest = rest[count:]
            self.buffer_updated(count)
            while (event := self.next_event()) is not None:
                yield event

    def next_event(self) -> Event | None:
        """The next event that is complete; None: more bytes are needed.

        Raises:
            RemoteWireError: The peer broke the protocol. The reader is of no more use.
            MessageTooLarge: It announced more than is allowed; likewise.
        """
        if self._failed is not None:
            raise self._failed
        try:
            if self.large is not None:
                return self._next_large()
            if not self.scratch:
                return None
            if self._messages:
                message: Message | None = self.scratch.next(0.0)
                if message is not None:
                    return message
            return self._next_small()
        except (RemoteWireError, MessageTooLarge) as exc:
            self._failed = exc
            raise
        except MemoryError as exc:
            self._failed = MessageTooLarge(self._limit, self._limit)
            raise self._failed from exc

    def _next_small(self) -> Event | None:
        scratch, memory = self.scratch, self._memory
        at, have = scratch.at, scratch.end - scratch.at
        if have < PREAMBLE.size:
            return None
        if have < HEADER.size or memory[at : at + 6] != MESSAGE_START or not self._messages:
            version, kind, length = check_preamble(memory, at, messages=self._messages)
            if kind == MESSAGE:
                return None  # the rest of its header has yet to come
            end = at + PREAMBLE.size + length
            if end > scratch.end:
                return None
            scratch.at = end
            return control_event(kind, version, bytes(self._view[at + PREAMBLE.size : end]))
        head = Head(memory, at, self._limit)
        end = at + head.before + head.body
        if end <= scratch.end:
            message = _small(head, self._view, at)
            scratch.at = end
            return message
        if end - at <= _SMALL_BYTES:
            return None
        self.large = _Large(head)  # what is here so far is all its own
        return self._next_large()

    def _next_large(self) -> Event | None:
        large, scratch = self.large, self.scratch
        assert large is not None
        while True:
            scratch.at += large.fill(self._view[scratch.at : scratch.end])
            if large.filled < len(large.target):
                return None
            if large.advance():
                self.large = None
                return large.message()


def _small(head: Head, scratch: memoryview, at: int) -> Message:
    """A message of which all bytes lie in the scratch memory."""
    reply_to = head.reply_to(scratch, at)
    start = at + head.before
    found = layout(head.form, head.metadata_in(scratch, at), head.body)
    parts: list[Block] = []
    last = 0
    for size in found.sizes:
        if size:
            start += -last % ALIGN if found.aligned else 0
            last = size
        part = aligned(size)
        memoryview(part)[:] = scratch[start : start + size]  # type: ignore[arg-type]
        parts.append(part)
        start += size
    return head.message(found.value(parts), reply_to)


class _Large:
    """A message that is received piece by piece, each into memory of its own.

    Attributes:
        target: What is being filled.
        filled: How much of it is.
    """

    def __init__(self, head: Head) -> None:
        self._head = head
        self._said = memoryview(bytearray(head.before))
        self._layout: Layout | None = None
        self._parts: list[Block] = []
        self._waiting: list[memoryview] = []
        self.target, self.filled = self._said, 0

    def fill(self, data: memoryview) -> int:
        """Take what is there for the target; how much of `data` that was."""
        count = min(len(self.target) - self.filled, len(data))
        self.target[self.filled : self.filled + count] = data[:count]
        self.filled += count
        return count

    def advance(self) -> bool:
        """The target is full: on to the next one; True: that was the last."""
        if self._layout is None:
            self._lay_out()
        if not self._waiting:
            return True
        self.target, self.filled = self._waiting.pop(), 0
        return False

    def _lay_out(self) -> None:
        head = self._head
        self._layout = layout(head.form, head.metadata_in(self._said), head.body)
        self._parts = blocks(self._layout)
        last = 0
        for part in self._parts:
            if part.nbytes:
                if self._layout.aligned and last % ALIGN:
                    self._waiting.append(memoryview(bytearray(-last % ALIGN)))
                self._waiting.append(memoryview(part))  # type: ignore[arg-type]
                last = part.nbytes
        self._waiting.reverse()

    def message(self) -> Message:
        """All of it is there."""
        assert self._layout is not None
        return self._head.message(self._layout.value(self._parts), self._head.reply_to(self._said))
