"""The end of `ping` and `bench`: a stream to the echo, and one back from it."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

from net.cli.carriers import carrier
from net.cli.echo import BACK, ECHO
from net.errors import TransportError
from net.inbox import Inbox
from net.messages import Message
from net.timing import Timing

TIMING = Timing(close_s=1.0)
"""Who asked has its answers: what is left to be said at the end isn't worth a wait."""
TRIES = 4


class Session:
    """Both streams.

    Args:
        there: To the echo.
        back: From it.
        hello: What tells the echo where to answer.
    """

    def __init__(self, there: Any, back: Inbox, hello: dict[str, Any]) -> None:
        self._back, self._hello = back, hello
        self.send: Callable[[Any], Awaitable[str]] = there.send

    async def greet(self) -> str:
        """Say where to answer: at first, and when no answer comes, as it may have restarted."""
        return await self.send(self._hello)

    async def answer(self, to: str) -> Message:
        """The answer to a message; others, which came too late, are passed over."""
        while True:
            message = await self._back.take()
            if message.reply_to == to:
                return message

    async def ask(self, value: Any) -> Message:
        """There and back."""
        return await self.answer(await self.send(value))

    async def insist(self, value: Any, wait_s: float) -> Message:
        """There and back, asked again and again: over UDP either may be lost.

        Raises:
            TimeoutError: Nothing came in all that time.
        """
        for _ in range(TRIES - 1):
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s / TRIES):
                    return await self.ask(value)
        async with asyncio.timeout(wait_s / TRIES):
            return await self.ask(value)


@asynccontextmanager
async def asking(target: tuple[str, int], wait_s: float, *, udp: bool) -> AsyncIterator[Session]:
    """A session with the `recv` at `target`.

    Raises:
        TransportError: Nobody is there in time, or its answers don't come here.
    """
    host, port = target
    own = own_address(target)
    name = f"ping-{secrets.token_hex(4)}"
    async with AsyncExitStack() as stack:
        listener = await stack.enter_async_context(carrier(udp=udp).listen(own, 0, [BACK]))
        there = await reached(stack, target, ECHO, name, wait_s, udp=udp)
        hello = {"net": "hello", "address": own, "port": listener.port}
        session = Session(there, listener.inputs[BACK], hello)
        try:
            await session.insist(hello, wait_s)
        except TimeoutError:
            raise TransportError(
                f"{host}:{port}: it is there, but no answer came to {own}:{listener.port} "
                f"within {wait_s:g} s", hint="is there a way back?"
            ) from None  # fmt: skip
        yield session
        await there.send({"net": "bye"})


async def reached(
    stack: AsyncExitStack,
    target: tuple[str, int],
    into: str,
    name: str,
    wait_s: float,
    *,
    udp: bool,
    timing: Timing = TIMING,
) -> Any:
    """A stream to a receiver that is there.

    Raises:
        TransportError: It isn't, in time.
    """
    host, port = target
    sender = carrier(udp=udp).connect(host, port, input=into, sender=name, timing=timing)
    try:
        async with asyncio.timeout(wait_s):
            return await stack.enter_async_context(sender)
    except TimeoutError:
        start = f"python -m net recv --port {port}" + " --udp" * udp
        raise TransportError(
            f"{host}:{port}: nobody listens there (waited {wait_s:g} s)",
            hint=f"start `{start}` on it, or wait longer with --wait",
        ) from None


def own_address(target: tuple[str, int]) -> str:
    """The address of this host that lies towards `target`; nothing is sent.

    Raises:
        TransportError: No such host, or no way to it.
    """
    host, port = target
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((host, port))
            address: str = probe.getsockname()[0]
            return address
    except OSError as exc:
        raise TransportError(f"{host}:{port}: no way there: {exc.strerror or exc}") from exc
