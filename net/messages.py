"""What travels: a parcel as it leaves, a message as the receiving module sees it.

Times are seconds since 1970, UTC. Must not know: asyncio, sockets, files, the wire.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from net.short import Fields
from net.values import Packed


class Carrier(Protocol):
    """Who brought a message, and hears what becomes of it."""

    def taken(self, message: Message) -> None:
        """It has left the queue: there is room for another."""

    def done(self, message: Message) -> None:
        """The module is done with it, or it was dropped: it may be acknowledged. Idempotent."""


@dataclass(slots=True)
class Parcel:
    """A message that leaves: packed once, for all streams of an output.

    Attributes:
        packed: Its value.
        run: First half of its id: a random number of the sender's life, or derived.
        number: Second half: counts up within a run.
        reply_to: Id of the message that it answers.
        made: When the sender had it ready.
        expires: From when on nobody wants it any more; 0: never.
    """

    packed: Packed
    run: int
    number: int
    reply_to: str | None = None
    made: float = 0.0
    expires: float = 0.0


class Message(Fields):
    """One message as the receiving module sees it.

    Attributes:
        id: Unique among all messages of the mesh, also of former lives of its sender.
        value: What was sent. Arrays are writable, start at a multiple of 64 and own their memory.
        reply_to: Id of the message that this one answers, or None.
        source: Name of the module that sent it.
        stream: Name of the stream it came on.
        made: When the sender had it ready, by the sender's clock.
        queued: When the stream took it, by the sender's clock.
        sent: When its first byte went out, by the sender's clock.
        received: When its last byte had arrived.
        taken: When the module took it from the input.
        expires: From when on nobody wants it; 0: never.
        size_bytes: Size on the wire.
        seq: Its number on its stream, in the sender's life.
        missing: None, or what of its array did not arrive (datagrams that may be partial).
    """

    __slots__ = ()

    def hold(self) -> Hold:
        """It isn't done with before that lets go: an answer to it is on its way."""
        return Hold(self)

    def _let_go(self) -> None:
        self._held -= 1
        if self.finished and not self._held and self.carrier is not None:
            self.carrier.done(self)

    def __repr__(self) -> str:
        return f"Message({self.id!r}, stream={self.stream!r}, value={self.value!r:.60})"


class Hold:
    """Keeps a message from being acknowledged while an answer to it is on its way."""

    __slots__ = ("_message",)

    def __init__(self, message: Message) -> None:
        self._message: Message | None = message
        message._held += 1

    def let_go(self) -> None:
        """The answer was acknowledged, or isn't going to be. Idempotent."""
        message, self._message = self._message, None
        if message is not None:
            message._let_go()
