"""The root of OTTER's errors, and those of transport and shaping.

    OtterError
      TransportError
        LocalWireError      we asked the codec for something it can't say: our bug
        RemoteWireError     the peer sent what the protocol forbids
        MessageTooLarge
        ConnectionClosed
        StreamRefused       the peer answered, and doesn't want this stream
        WouldWait           it can't be sent without waiting
      DriverError           driver, op, target, recoverable
        ShapingError

Attributes hold the facts; ``__str__`` writes one line: *where: what failed: why; what to try*.
Must not know: asyncio, sockets, topology, agents.
"""

from __future__ import annotations


class OtterError(Exception):
    """Root of every error that OTTER raises on purpose.

    Args:
        message: What failed and why, one line.
        hint: What the reader can try, one line; empty if there is nothing to suggest.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class TransportError(OtterError):
    """A stream or datagram could not do what was asked."""


class LocalWireError(TransportError):
    """This side asked for something the protocol can't express (a bug here)."""


class RemoteWireError(TransportError):
    """The peer sent bytes that the protocol forbids."""


class MessageTooLarge(TransportError):  # noqa: N818 - the field's word
    """A message exceeds the agreed bound.

    Args:
        size_bytes: What was asked or announced.
        limit_bytes: What is allowed.
    """

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(f"message of {size_bytes} bytes is over the limit of {limit_bytes} bytes")
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes


class ConnectionClosed(TransportError):  # noqa: N818 - the field's word
    """The other side went away, or this side closed the connection."""


class StreamRefused(TransportError):  # noqa: N818 - the field's word
    """The other side refused the stream: another version, or an input it doesn't have."""


class WouldWait(TransportError):  # noqa: N818 - the field's word
    """A message can't be sent without waiting; nothing was sent."""


class DriverError(OtterError):
    """A driver (runtime, images, links, cgroups, gpu) could not do what was asked.

    Args:
        driver: Name of the driver, e.g. ``docker``.
        op: What was tried, e.g. ``start``.
        target: What it was tried on, e.g. ``mesh/module``.
        why: The cause, one line.
        recoverable: Whether trying again later may help.
        hint: What the reader can try.
    """

    def __init__(
        self,
        driver: str,
        op: str,
        target: str,
        why: str,
        *,
        recoverable: bool = False,
        hint: str = "",
    ) -> None:
        super().__init__(f"{target}: {driver} could not {op}: {why}", hint=hint)
        self.driver = driver
        self.op = op
        self.target = target
        self.why = why
        self.recoverable = recoverable


class ShapingError(DriverError):
    """A link could not be given the properties asked for."""
