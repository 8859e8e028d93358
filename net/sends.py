"""What all explicit sending ends have in common: values become parcels, and `async with`.

Must not know: how messages travel, who listens.
"""

from __future__ import annotations

import itertools
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from net.ids import message_id
from net.messages import Parcel
from net.values import pack


class Sends(ABC):
    """A sending end.

    Args:
        name: Of the sending module.
        clock: Seconds since 1970.

    Attributes:
        run: A random number of this end's life: ids differ between lives.
    """

    def __init__(self, name: str, clock: Callable[[], float]) -> None:
        self._name, self._clock = name, clock
        self.run = secrets.randbits(32)
        self._numbers = itertools.count(1)
        self._quickly: Callable[[Any, str | None], str | None] = _not_quickly

    @abstractmethod
    async def open(self) -> None:
        """Wait until the other side is there."""

    @abstractmethod
    async def deliver(self, parcel: Parcel, on_settled: Callable[[], None] | None = None) -> None:
        """Send a value that is packed already."""

    @abstractmethod
    async def aclose(self) -> bool:
        """Say that nothing more comes; whether the receiver confirmed it. Idempotent."""

    @abstractmethod
    def abort(self) -> None:
        """Cut; what is not yet received may be lost. Idempotent."""

    async def send(
        self, value: Any, *, reply_to: str | None = None, within_s: float | None = None
    ) -> str:
        """Send one message; returns its id once it is on its way, and arrays may change.

        Args:
            value: Arrays, str, bytes, numbers, None, or lists and dicts of these.
            reply_to: Id of the message that this one answers.
            within_s: After so many seconds nobody wants it: it is dropped wherever it waits.

        Raises:
            LocalWireError: The value can't be sent.
            MessageTooLarge: It is larger than the receiver accepts.
            StreamRefused: The receiver doesn't want this stream.
            ConnectionClosed: This end has been closed.

        Cancellation: the message goes out, or it doesn't; never a part of it.
        """
        if within_s is None and (said := self._quickly(value, reply_to)) is not None:
            return said
        made = self._clock()
        number = next(self._numbers)
        expires = made + within_s if within_s is not None else 0.0
        await self.deliver(Parcel(pack(value), self.run, number, reply_to, made, expires))
        return message_id(self._name, self.run, number)

    async def __aenter__(self) -> Self:
        try:
            await self.open()
        except BaseException:
            self.abort()
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self.abort()
        await self.aclose()


def _not_quickly(value: Any, reply_to: str | None) -> str | None:
    """There is no shorter way for short messages."""
    return None
