"""A message that a sender still has to do with, ready for the wire. Pure.

Must not know: asyncio, sockets, the clock, who keeps it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from net.header import URGENT
from net.memory import aligned
from net.messages import Parcel
from net.values import Buffer
from net.wire import encode

JOIN_BYTES = 64 * 1024
"""Messages up to this size are copied: they go out in one system call, and may be sent again."""


@dataclass(slots=True, eq=False)
class Entry:
    """One message that a sender still has to do with.

    Attributes:
        seq: Its number on the stream.
        buffers: All of it, ready for the wire.
        nbytes: Bytes of them.
        expires: From when on nobody wants it; 0: never.
        owned: Whether no memory of the module's is referred to.
        on_settled: Called once it is acknowledged.
        on_handed: Called once the kernel has all of it, or it was dropped.
    """

    seq: int
    buffers: list[Buffer]
    nbytes: int
    expires: float = 0.0
    owned: bool = True
    on_settled: Callable[[], None] | None = None
    on_handed: Callable[[], None] | None = None
    settled: bool = field(default=False, repr=False)

    def own(self) -> None:
        """Copy what is the module's memory, so that the module may change it."""
        if not self.owned:
            self.owned = True
            self.buffers[:] = map(_copy, self.buffers)  # who is writing it has this very list

    def settle(self) -> None:
        """Nothing more will happen to it: nobody wants it, or it was acknowledged."""
        self.settled = True
        if self.on_settled is not None:
            self.on_settled()


def _copy(part: Buffer) -> Buffer:
    block = memoryview(aligned(len(part)))  # type: ignore[arg-type]
    block[:] = part
    return block


def entry_of(
    parcel: Parcel, seq: int, now: float, limit_bytes: int, *, own: bool, urgent: bool
) -> Entry:
    """The parcel as it goes to the wire; in one piece if it is small, or `own`.

    Args:
        parcel: The message.
        seq: Its number on the stream.
        now: Seconds since 1970.
        limit_bytes: Bound of the whole.
        own: Whether the module's memory may change at once.
        urgent: Whether a large one's acknowledgement is waited for.

    Raises:
        MessageTooLarge: Over the limit.
    """
    own = own or parcel.packed.nbytes < JOIN_BYTES
    flags = URGENT if urgent and not own else 0
    buffers = encode(
        parcel, seq=seq, queued=now, sent=now, limit_bytes=limit_bytes, flags=flags
    )  # fmt: skip
    if own and len(buffers) > 1:
        buffers = [b"".join(buffers)]
    return Entry(seq, buffers, sum(map(len, buffers)), parcel.expires, own)
