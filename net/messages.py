"""What a module receives. Must not know: asyncio, sockets, files."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True, eq=False)
class Message:
    """One message as the receiving module sees it. Times are seconds since 1970, UTC.

    Attributes:
        value: What was sent; arrays are writable and own their memory.
        id: Unique among all messages of the sender.
        reply_to: Id of the message that this one answers.
        source: Name of the module that sent it.
        stream: Name of the stream it came on.
        made: When the sender had it ready, by the sender's clock.
        sent: When its first byte went out, by the sender's clock.
        received: When its last byte had arrived.
        taken: When the module took it from the input.
        size_bytes: Size on the wire.
    """

    value: Any
    id: str
    reply_to: str | None
    source: str
    stream: str
    made: float
    sent: float
    received: float
    size_bytes: int
    taken: float = 0.0
    recorded: bool = field(default=False, repr=False)
    """Whether its record has been written."""
