"""Blocking sockets: `sendall`, and `recv_into` the same memory each time."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from benchmarks.transport.peer import HERE, Channel, Place


@contextmanager
def listen(place: Place) -> Iterator[Channel]:
    """Accept one connection."""
    with socket.create_server((HERE, place.ports[0])) as server:
        connection, _ = server.accept()
    with connection:
        yield _channel(place, connection)


@contextmanager
def dial(place: Place) -> Iterator[Channel]:
    """Connect as soon as there is somebody."""
    with _connected(place.ports[0]) as connection:
        yield _channel(place, connection)


def _connected(port: int) -> socket.socket:
    while True:
        with suppress(ConnectionRefusedError):
            return socket.create_connection((HERE, port))
        time.sleep(0.02)


def _channel(place: Place, connection: socket.socket) -> Channel:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    value = place.task.make()
    memory: Any = np.empty_like(value) if isinstance(value, np.ndarray) else bytearray(value)
    flat = memoryview(memory).cast("B")
    size = len(flat)
    recv_into = connection.recv_into

    def receive() -> object:
        got = 0
        while got < size:
            taken = recv_into(flat[got:])
            if not taken:
                raise ConnectionResetError("the other end is gone")
            got += taken
        return memory

    return Channel(connection.sendall, receive)
