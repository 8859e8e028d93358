"""Streams over TCP: `connect` sends, `listen` receives. Usable without the SDK.

The sender retries until the other side is there, comes back after a cut, waits while the
receiver's queue is full, and sends again what was not acknowledged. Must not know: modules,
files, wiring.

Example:
    >>> async with connect("10.0.0.7", 9000, input="images", sender="camera") as stream:
    ...     await stream.send(numpy.zeros((480, 640, 3), "u1"))
"""

from __future__ import annotations

from net.inbox import DEFAULT_QUEUE, Inbox
from net.messages import Message, Parcel
from net.tcp.listener import Listener, listen
from net.tcp.sender import Sender
from net.timing import Timing
from net.values import pack

__all__ = [
    "DEFAULT_QUEUE",
    "Inbox",
    "Listener",
    "Message",
    "Parcel",
    "Sender",
    "Timing",
    "connect",
    "listen",
    "pack",
]


def connect(
    address: str,
    port: int,
    *,
    input: str,  # noqa: A002 - the field's word
    sender: str,
    stream: str | None = None,
    delivery: str = "at-least-once",
    policy: str = "block",
    queue: int = DEFAULT_QUEUE,
    timing: Timing | None = None,
) -> Sender:
    """The sending end of a stream; `async with` waits until the receiver is there.

    Args:
        address: Where the receiver listens.
        port: Its TCP port.
        input: The receiver's input.
        sender: This module's name.
        stream: Name of the stream; default: from sender and input.
        delivery: `at-most-once`, `at-least-once` or `exactly-once`: docs/transport.md.
        policy: `block`, `drop-oldest` or `latest`: what happens when the receiver is slower.
        queue: Messages that may wait here with `drop-oldest`.
        timing: Retries and grace periods.
    """
    return Sender(
        address, port, stream=stream or f"{sender}>{input}", input=input, sender=sender,
        delivery=delivery, policy=policy, queue=queue, timing=timing,
    )  # fmt: skip
