"""What a message is made of, and its bytes. What `net/_short.c` and `_short_fields.c` do in C.

Must not know: connections, inputs, the clock.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from net.header import FLAGS, HEADER, MAX_REPLY_BYTES, MAX_TIME, MESSAGE_START
from net.ids import message_id
from net.values import BYTES

SIZE = HEADER.size
heard = [0]
"""How often something was received, by all. What is said after that is an answer."""


class Fields:
    """What a message is made of, without a dictionary."""

    __slots__ = (
        "_held", "answers", "carrier", "exactly_once", "expires", "finished", "made", "missing",
        "number", "queued", "received", "recorded", "reply_to", "run", "sent", "seq", "size_bytes",
        "source", "stream", "taken", "twins", "urgent", "value",
    )  # fmt: skip

    value: Any
    missing: Any
    carrier: Any
    twins: tuple[Any, ...]

    def __init__(
        self,
        value: Any,
        seq: int,
        run: int,
        number: int,
        reply_to: str | None,
        made: float,
        queued: float,
        sent: float,
        expires: float,
        size_bytes: int,
        urgent: bool = False,
    ) -> None:
        self.value, self.seq, self.run, self.number = value, seq, run, number
        self.reply_to, self.made, self.queued, self.sent = reply_to, made, queued, sent
        self.expires, self.size_bytes, self.urgent = expires, size_bytes, urgent
        self.source = self.stream = ""
        self.received = self.taken = 0.0
        self.missing = self.carrier = None
        self.recorded = self.finished = self.exactly_once = False
        self.twins = ()
        self.answers = self._held = 0

    @property
    def id(self) -> str:
        """Unique among all messages of the mesh, also of former lives of its sender."""
        return message_id(self.source, self.run, self.number)

    def moments(self) -> tuple[float, float, float, float, float]:
        """When it was made, queued, sent, received and taken."""
        return self.made, self.queued, self.sent, self.received, self.taken

    def done(self) -> None:
        """Say that the module is done with it: from now on it isn't sent again. Idempotent.

        Taking the next message from the input says it, too.
        """
        if not self.finished:
            self.finished = True
            if self.carrier is not None and not self._held:
                self.carrier.done(self)


class Scratch:
    """Memory to receive into, and the short messages that lie in it.

    Args:
        memory: As large as it shall be.
        message: Class of the messages, a subclass of `Fields`.
        limit_bytes: Bound of a message.

    Attributes:
        at: Where what hasn't been looked at begins.
        end: Where what has been received ends.
    """

    __slots__ = (
        "_carrier", "_limit", "_message", "_source", "_stream", "_view", "at", "end", "memory"
    )  # fmt: skip

    def __init__(self, memory: bytearray, message: Callable[..., Any], limit_bytes: int) -> None:
        self.memory = memory
        self._view = memoryview(memory)
        self._message, self._limit = message, limit_bytes
        self.at = self.end = 0
        self.preset("", "", None)

    def preset(self, source: str, stream: str, carrier: Any) -> None:
        """What each message gets from now on."""
        self._source, self._stream, self._carrier = source, stream, carrier

    def __len__(self) -> int:
        return self.end - self.at

    def receive(self, fd: int) -> int:
        """Receive behind `end` what fits, from a descriptor that doesn't block; how much; 0: over.

        Raises:
            OSError: As the system says, `BlockingIOError` if there is nothing.
        """
        if self.at == self.end:
            self.at = self.end = 0
        count = os.readv(fd, (self._view[self.end :],))
        self.end += count
        if count:
            heard[0] += 1
        return count

    def next(self, received: float) -> Any:
        """The message that comes next; None: it isn't here, or isn't short: look more closely.

        Bytes, all of them here: no object but the message is made for them.

        Args:
            received: When it came.
        """
        at, memory = self.at, self.memory
        if self.end - at < SIZE:
            return None
        (
            start, form, flags, metadata, body, reply, seq, run, number, made, queued, sent, expires
        ) = HEADER.unpack_from(memory, at)  # fmt: skip
        first = at + SIZE + reply
        end = first + body
        if (
            form != BYTES
            or metadata
            or reply > MAX_REPLY_BYTES
            or flags & ~FLAGS
            or end > self.end
            or end - at > self._limit
            or not seq
            or start != MESSAGE_START
            or not (  # false for nan, too
                -MAX_TIME < made < MAX_TIME
                and -MAX_TIME < queued < MAX_TIME
                and -MAX_TIME < sent < MAX_TIME
                and 0 <= expires < MAX_TIME
            )
        ):
            return None
        reply_to = None
        if reply:
            try:
                reply_to = memory[first - reply : first].decode()
            except UnicodeDecodeError:
                return None
        self.at = end
        message = self._message(
            bytes(self._view[first:end]), seq, run, number, reply_to, made, queued, sent, expires,
            end - at, bool(flags),
        )  # fmt: skip
        message.source, message.stream = self._source, self._stream
        message.received, message.carrier = received, self._carrier
        return message


def encode(
    form: int,
    flags: int,
    metadata: bytes,
    body: bytes,
    reply_to: str | None,
    seq: int,
    run: int,
    number: int,
    made: float,
    queued: float,
    sent: float,
    expires: float,
    /,
) -> bytes:
    """A message as bytes, in one piece; for forms without zeros between its parts.

    Raises:
        ValueError: `reply_to` is longer than an id may be.
    """
    reply = reply_to.encode() if reply_to is not None else b""
    if len(reply) > MAX_REPLY_BYTES:
        raise ValueError("that is no short message")
    head = HEADER.pack(
        MESSAGE_START, form, flags, len(metadata), len(body), len(reply), seq, run, number,
        made, queued, sent, expires,
    )  # fmt: skip
    return b"".join((head, reply, metadata, body))
