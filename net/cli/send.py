"""`send`: one value, or each line of the standard input."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from time import perf_counter as clock
from typing import Any

import numpy as np

from net.cli.asking import TIMING, reached
from net.errors import OtterError, TransportError
from net.timing import Timing

CHUNK = 1 << 16


class Work:
    """One `send`.

    Raises:
        OtterError: What is to be sent is no value.
    """

    def __init__(self, asked: argparse.Namespace) -> None:
        self._asked = asked
        self._value = made(asked) if one_value(asked) else None
        self._count = 0
        self._begin = clock()
        self._confirmed = False

    async def run(self) -> None:
        """Send, and wait until it has arrived."""
        asked = self._asked
        values = self._repeated() if one_value(asked) else lines(sys.stdin.fileno())
        async with AsyncExitStack() as stack:
            name = f"send-{secrets.token_hex(4)}"
            # Of datagrams only the receiver's last word tells whether they are there, and a busy
            # machine is silent for seconds; a connection tells whether anybody is.
            timing = Timing() if asked.udp else TIMING
            sender = await reached(
                stack, asked.target, asked.input, name, asked.wait, udp=asked.udp, timing=timing
            )
            self._begin = clock()
            async for value in values:
                await sender.send(value)
                self._count += 1
            await self._end(sender)

    async def _repeated(self) -> AsyncIterator[Any]:
        """The value, as often as asked for."""
        for number in range(self._asked.count):
            if number and self._asked.interval:
                await asyncio.sleep(self._asked.interval)
            yield self._value

    async def _end(self, sender: Any) -> None:
        self._confirmed = await sender.aclose()
        if not self._confirmed:
            host, port = self._asked.target
            raise TransportError(f"{host}:{port}: the receiver left before it had everything")

    def summary(self, *, interrupted: bool) -> int:
        """How many, and how long it took."""
        if not self._count and not self._confirmed:
            return int(interrupted)
        took = clock() - self._begin
        end = "" if self._confirmed else "; not all may have arrived"
        print(f"{self._count} messages sent in {took:.3f} s{end}", file=sys.stderr)
        return int(interrupted)


def one_value(asked: argparse.Namespace) -> bool:
    """Whether the value is on the command line."""
    return any(getattr(asked, name) is not None for name in ("text", "value", "array"))


def made(asked: argparse.Namespace) -> Any:
    """The value.

    Raises:
        OtterError: It is none.
    """
    if asked.text is not None:
        return asked.text
    if asked.array is not None:
        return array(asked.array)
    try:
        return json.loads(asked.value)
    except (ValueError, RecursionError) as exc:
        raise OtterError(f"--value is no JSON: {exc}") from exc


def array(text: str) -> np.ndarray[Any, Any]:
    """An array of a text such as `480x640x3:u1`, zeros.

    Raises:
        OtterError: It says none.
    """
    shape, _, dtype = text.partition(":")
    try:
        sizes = [int(part) for part in shape.split("x")] if shape else []
        return np.zeros(sizes, np.dtype(dtype or "u1"))
    except (ValueError, TypeError, MemoryError) as exc:
        raise OtterError(f"--array {text}: {exc}", hint="write 480x640x3:u1") from exc


async def lines(fd: int) -> AsyncIterator[str]:
    """The lines of a file, terminal or pipe, as they come."""
    rest = b""
    while data := await chunk(fd):
        *whole, rest = (rest + data).split(b"\n")
        for line in whole:
            yield line.decode(errors="replace")
    if rest:
        yield rest.decode(errors="replace")


async def chunk(fd: int) -> bytes:
    """What can be read, once something can; no thread, so that Ctrl-C needs no key after it."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    try:
        loop.add_reader(fd, wake)
    except PermissionError:  # a plain file: there is always something
        return os.read(fd, CHUNK)
    try:
        await ready
    finally:
        loop.remove_reader(fd)
    return os.read(fd, CHUNK)
