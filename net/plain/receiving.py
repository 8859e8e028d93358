"""The receiving of a short message, from the socket to the task. In C: `net/_short_receiving.c`.

Here all of it is the subclasses' own way: they have one for whatever may come, and in Python a
second one for what is commonest would be no shorter. Must not know: inputs, what messages are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Any

from net.plain.sending import Link


class Seen:
    """What a receiver has seen of one stream; `net.delivery.Progress` is the rest of it.

    Attributes:
        received: Number of the last message that came.
        done: All up to this number are done with.
        open: What has come and isn't done with.
        ahead: Of these, what is done with while something before it isn't.
    """

    __slots__ = ("ahead", "done", "open", "received")

    received: int
    done: int
    open: deque[int]
    ahead: set[int]


class Shown:
    """The memory that a peer has shown us; `net.shared.incoming.Incoming` is the rest of it.

    In C, an array that is described as the one before was (`_said`: its metadata) becomes a view of
    that memory right away: of `_kind` with `_shape` and `_dtype`. Its end is told to the one in
    `_home`, with its place: region, offset.
    """

    __slots__ = (
        "_copies", "_dtype", "_home", "_kind", "_limit_bytes", "_nbytes", "_out", "_regions",
        "_said", "_shape",
    )  # fmt: skip

    _regions: dict[int, Any]
    _out: dict[tuple[int, int], int]
    _home: list[Callable[[tuple[int, int]], None]]
    _kind: Any
    _said: bytes | None
    _dtype: Any
    _shape: Any
    _nbytes: int
    _limit_bytes: int
    _copies: bool


class Arrivals(Link, ABC):
    """The receiving end of a connection; `net.tcp.receiving.ReceivingConnection` is the rest of it.

    In C, one short message that comes alone, in its turn, on a stream that is as always (`_quick`),
    goes straight to the task that waits for it, past the queue; and while the loop has nothing else
    to do, the next one is waited for right there (`_epoll`: by what the loop waits).
    """

    __slots__ = (
        "_ack_timer", "_acks", "_before", "_clock", "_edge", "_ended", "_epoll", "_inbox",
        "_incoming", "_most_unsaid", "_most_unsaid_bytes", "_progress", "_quick", "_scratch",
        "_tally", "_unsaid", "_unsaid_bytes",
    )  # fmt: skip

    _scratch: Any
    _inbox: Any
    _incoming: Any
    _edge: Any
    _progress: Any
    _tally: Any
    _clock: Callable[[], float]
    _ack_timer: Any
    _before: bytes | None
    _epoll: int
    _unsaid: int
    _unsaid_bytes: int
    _most_unsaid: int
    _most_unsaid_bytes: int
    _quick: bool
    _acks: bool
    _ended: bool

    def readable(self) -> None:
        """There is something to read."""
        self._readable()

    def done(self, message: Any) -> None:
        """The module is done with a message: the sender may forget it."""
        self._done(message)

    @abstractmethod
    def _readable(self) -> None:
        """Read, and see to all that is there."""

    @abstractmethod
    def _done(self, message: Any) -> None:
        """A message is done with."""
