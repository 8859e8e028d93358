"""What a peer is: a file in `peers/` that opens the two ends of a channel. Pure.

    listen(side)   the end that is dialled: it receives, or answers
    dial(side)     the other: it sends, or asks

Both are context managers, plain ones for blocking peers and asynchronous ones for asyncio's, that
give a `Channel` once the other end is there. `side` says where (`ports`) and what (`case`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

HERE = "127.0.0.1"
Pattern = Literal["echo", "one way"]


class Task(Protocol):
    """What is exchanged: the part of a case that a peer may know."""

    @property
    def pattern(self) -> Pattern:
        """There and back, or one way."""

    def make(self) -> Any:
        """The value that is sent every time: bytes or an array."""


class Place(Protocol):
    """Where an end is: what `listen` and `dial` are told."""

    @property
    def ports(self) -> tuple[int, int]:
        """Free when the pair was started: the listening end's, and a second one."""

    @property
    def task(self) -> Task:
        """What will be exchanged."""

    @property
    def folder(self) -> Path:
        """A folder of the pair's own."""


def _same(received: Any) -> Any:
    return received


@dataclass(slots=True)
class Channel:
    """One end. Each of these is blocking, or gives something to await.

    Attributes:
        send: Sends the value.
        receive: What arrives next; the caller may keep it, so its memory is its own.
        value: The bytes or the array in what `receive` gave.
        answer: Sends what `receive` gave back; None: `send` does.
        ask_all: Asks so many times and gives the seconds of each; None: send, receive.
        answer_all: Answers so many times; None: receive, answer.
    """

    send: Callable[[Any], Any]
    receive: Callable[[], Any]
    value: Callable[[Any], Any] = _same
    answer: Callable[[Any], Any] | None = None
    ask_all: Callable[[int], Any] | None = None
    answer_all: Callable[[int], Any] | None = None


Ends = AbstractContextManager[Channel] | AbstractAsyncContextManager[Channel]


class Peer(Protocol):
    """A file in `peers/`."""

    def listen(self, place: Place) -> Ends:
        """The end that receives or answers."""

    def dial(self, place: Place) -> Ends:
        """The end that sends or asks."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A peer as it takes part.

    Attributes:
        peer: Its file in `peers/`.
        needs: Packages that it imports.
        loop: The event loop, for those that have one.
        broker: Whether it needs a server between the two ends: `broker(port, folder)` in its file
            gives the command, or raises `NotHere`.
    """

    peer: str
    needs: tuple[str, ...] = ()
    loop: Literal["asyncio", "uvloop"] = "asyncio"
    broker: bool = False
