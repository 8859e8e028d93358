"""pyzmq without a loop: PUSH and PULL one way, DEALER and DEALER there and back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import zmq

from benchmarks.transport.forms import from_bytes, is_large
from benchmarks.transport.peer import HERE, Channel, Place


def channel(place: Place, socket: Any) -> Channel:
    """Large values without a copy (`copy=False`), small ones with: each way is the faster one."""
    if not is_large(place.task):
        return Channel(socket.send, socket.recv)
    make = from_bytes(place.task)
    receive = partial(socket.recv, copy=False)
    return Channel(partial(socket.send, copy=False), receive, lambda got: make(got.buffer))


def kinds(place: Place) -> tuple[int, int]:
    """The sockets' types: the listening one's and the other's."""
    return (zmq.DEALER, zmq.DEALER) if place.task.pattern == "echo" else (zmq.PULL, zmq.PUSH)


@contextmanager
def listen(place: Place) -> Iterator[Channel]:
    """Bind."""
    with zmq.Context() as context, context.socket(kinds(place)[0]) as socket:
        socket.bind(f"tcp://{HERE}:{place.ports[0]}")
        yield channel(place, socket)


@contextmanager
def dial(place: Place) -> Iterator[Channel]:
    """Connect; the library tries until the other end is there."""
    with zmq.Context() as context, context.socket(kinds(place)[1]) as socket:
        socket.connect(f"tcp://{HERE}:{place.ports[0]}")
        yield channel(place, socket)
