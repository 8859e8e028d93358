"""What a sending end of a stream is to the SDK, however its messages travel.

`net.tcp.sender` has it for TCP, `net.shared.sender` for shared memory. Must not know: any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from net.messages import Parcel
from net.stats import EdgeStats

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from net.rubbish import Rubbish

Shape = int | Sequence[int]


@runtime_checkable
class Lends(Protocol):
    """Outlets with memory in which arrays can be filled and sent without a copy."""

    def empty(self, shape: Shape, dtype: Any) -> NDArray[Any] | None:
        """An array in that memory; None: there is no room now."""


@runtime_checkable
class Quick(Protocol):
    """Outlets with a shorter way for bytes, or for arrays of theirs."""

    def at_once(self, value: Any, run: int, number: int, reply_to: str | None, made: float) -> bool:
        """Send a value without waiting, if that can be done in few steps; whether it was done."""


class Outlet(Protocol):
    """The sending end of one stream.

    Attributes:
        stream: Its name.
        transport: `tcp`, `udp` or `shm`.
        exactly_once: Whether its receiver drops what came in another life of this module.
    """

    stream: str
    transport: str
    exactly_once: bool

    async def open(self) -> None:
        """Wait until the other side is there. Delivering does that too.

        Raises:
            StreamRefused: It is there and doesn't want this stream.
            TransportError: The address makes no sense.
        """

    async def deliver(self, parcel: Parcel, on_settled: Callable[[], None] | None = None) -> None:
        """Send a message; returns when the memory of its arrays may change again.

        Args:
            parcel: The message.
            on_settled: Called once the receiver has acknowledged it.

        Raises:
            MessageTooLarge: It is larger than the receiver accepts.
            StreamRefused: The receiver doesn't want this stream.
            ConnectionClosed: This end has been closed.

        Cancellation: the message has gone out, or it hasn't; never a part of it.
        """

    async def flush(self) -> None:
        """Wait until the receiver has acknowledged all that was sent."""

    async def aclose(self) -> bool:
        """Say that nothing more comes; whether the receiver confirmed it. Idempotent."""

    def abort(self) -> None:
        """Cut; what is not yet received may be lost. Idempotent."""

    def stats(self) -> EdgeStats:
        """Counters of this end."""


class Receiver(Protocol):
    """What listens for streams of one transport, and feeds inputs.

    Attributes:
        rubbish: What came and was refused.
    """

    rubbish: Rubbish

    async def open(self) -> None:
        """Start to listen.

        Raises:
            TransportError: The port is taken, or the address isn't here.
        """

    async def aclose(self) -> None:
        """Stop listening, end all inputs. Idempotent."""


@dataclass(frozen=True, slots=True)
class Lost:
    """A message that didn't leave, as far as a record tells of it.

    Attributes:
        outcome: `dropped` (by the stream's policy, or it is too large), `expired` (nobody wanted it
            any more when its turn came) or `failed` (the stream ended first).
    """

    run: int
    number: int
    reply_to: str | None
    made: float
    queued: float
    nbytes: int
    outcome: str


@runtime_checkable
class Tells(Protocol):
    """Outlets that tell of each message that doesn't leave."""

    on_lost: Callable[[Lost], None] | None
