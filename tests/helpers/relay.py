"""A UDP relay on loopback that loses, holds back and repeats what a test tells it to."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress

HERE = "127.0.0.1"


class Relay:
    """`async with Relay(port)`: what is sent to `relay.port` goes to `port`, answers come back.

    Attributes:
        there: Asked for each datagram to the receiver: how often to pass it on (0: lose it).
        back: The same for answers.
    """

    def __init__(self, port: int, there=lambda data: 1, back=lambda data: 1) -> None:
        self._target = (HERE, port)
        self.there: Callable[[bytes], int] = there
        self.back: Callable[[bytes], int] = back
        self._flows: dict[tuple[str, int], socket.socket] = {}

    def _socket(self) -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 2**20)
        made.bind((HERE, 0))
        return made

    async def __aenter__(self):
        self._front = self._socket()
        self.port = self._front.getsockname()[1]
        asyncio.get_running_loop().add_reader(self._front, self._arrived)
        return self

    async def __aexit__(self, *_):
        loop = asyncio.get_running_loop()
        for each in (self._front, *self._flows.values()):
            loop.remove_reader(each)
            each.close()

    def _arrived(self):
        for data, address in _all(self._front):
            flow = self._flows.get(address)
            if flow is None:
                flow = self._flows[address] = self._socket()
                loop = asyncio.get_running_loop()
                loop.add_reader(flow, self._answered, flow, address)
            for _ in range(self.there(data)):
                _send(flow, data, self._target)

    def _answered(self, flow, address):
        for data, _ in _all(flow):
            for _ in range(self.back(data)):
                _send(self._front, data, address)


def _all(opened):
    for _ in range(200):
        try:
            yield opened.recvfrom(65535)
        except (BlockingIOError, ConnectionRefusedError):
            return


def _send(opened, data, address):
    with suppress(BlockingIOError, ConnectionRefusedError):  # lost: whoever uses this is about that
        opened.sendto(data, address)
