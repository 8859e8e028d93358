"""Streams over UDP: `connect` sends, `listen` receives. Usable without the SDK.

For what is worth having now or not at all: a message arrives once or never, as soon as it is whole,
whatever became of those before it. Lost parts are computed from parity (`Options.fec_ratio`), or
sent again as long as the message's deadline allows. docs/datagrams.md has it all. Must not know:
modules, files, wiring.

Example:
    >>> async with connect("10.0.0.7", 9000, input="images", sender="camera") as stream:
    ...     await stream.send(numpy.zeros((480, 640, 3), "u1"))
"""

from __future__ import annotations

from net.datagram.endpoint import Endpoint, listen
from net.datagram.options import DEADLINE_S, Options
from net.datagram.sender import Sender
from net.inbox import DEFAULT_QUEUE, Inbox
from net.timing import Timing

__all__ = [
    "DEADLINE_S", "DEFAULT_QUEUE", "Endpoint", "Inbox", "Options", "Sender", "Timing", "connect",
    "listen",
]  # fmt: skip


def connect(
    address: str,
    port: int,
    *,
    input: str,  # noqa: A002 - the field's word
    sender: str,
    stream: str | None = None,
    options: Options | None = None,
    policy: str = "block",
    queue: int = DEFAULT_QUEUE,
    timing: Timing | None = None,
) -> Sender:
    """The sending end of a stream; `async with` waits until the receiver is there.

    Args:
        address: Where the receiver listens.
        port: Its UDP port.
        input: The receiver's input.
        sender: This module's name.
        stream: Name of the stream; default: from sender and input.
        options: Deadline, parity, rate and the like.
        policy: `block`, `drop-oldest` or `latest`: what happens when the path or the receiver is
            slower.
        queue: Messages that may wait here with `drop-oldest`.
        timing: Grace periods.
    """
    return Sender(
        address, port, stream=stream or f"{sender}>{input}", input=input, sender=sender,
        options=options, policy=policy, queue=queue, timing=timing,
    )  # fmt: skip
