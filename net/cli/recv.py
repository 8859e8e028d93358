"""`recv`: listen, show what arrives, and answer `ping` and `bench`."""

from __future__ import annotations

import argparse
import asyncio
import sys

from net.cli import shown
from net.cli.carriers import carrier
from net.cli.echo import ECHO, Echo
from net.cli.endless import LOOK_S, messages
from net.inbox import Inbox
from net.messages import Message

FAREWELL_LOOKS = 20


class Work:
    """One `recv`."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self._asked = asked
        self._count = 0
        self._nbytes = 0
        self._listened = False

    async def run(self) -> None:
        """Until Ctrl-C, or what was asked for is there."""
        asked = self._asked
        streams = carrier(udp=asked.udp)
        async with streams.listen(asked.listen, asked.port, [asked.input, ECHO]) as listener:
            self._listened = True
            print(f"listening at {asked.listen}:{listener.port}", file=sys.stderr, flush=True)
            try:
                async with asyncio.TaskGroup() as group:
                    echo = group.create_task(Echo(streams.connect).serve(listener.inputs[ECHO]))
                    await self._take(listener.inputs[asked.input])
                    await farewell(listener.inputs[asked.input])
                    echo.cancel()
            except* BrokenPipeError as gone:
                raise gone.exceptions[0] from None

    async def _take(self, inbox: Inbox) -> None:
        source = inbox if self._asked.until_end else messages(inbox)
        async for message in source:
            self._count += 1
            self._nbytes += message.size_bytes
            self._show(message)
            if self._count == self._asked.count:
                inbox.finish()
                return

    def _show(self, message: Message) -> None:
        if self._asked.plain:
            print(shown.plain(message.value), flush=True)
        elif self._asked.json:
            print(shown.as_json(_record(message)), flush=True)
        else:
            way = shown.milliseconds(message.received - message.sent)
            size = shown.size(message.size_bytes)
            print(f"{message.source}: {shown.short(message.value)}; {size}, {way} ms", flush=True)

    def summary(self, *, interrupted: bool) -> int:
        """Ctrl-C is how it usually ends; a failure where a count was asked for."""
        if self._listened:
            print(f"{self._count} messages, {shown.size(self._nbytes)}", file=sys.stderr)
        return int(interrupted and self._asked.count is not None)


async def farewell(inbox: Inbox) -> None:
    """Let senders that say their last word hear that all has arrived, if they are quick."""
    inbox.discard()
    for _ in range(FAREWELL_LOOKS):
        if inbox.ended:
            break
        await asyncio.sleep(LOOK_S)
    await asyncio.sleep(LOOK_S)  # the receipt goes out


def _record(message: Message) -> dict[str, object]:
    names = ("id", "reply_to", "source", "stream", "made", "sent", "received", "size_bytes")
    return {**{name: getattr(message, name) for name in names}, "value": message.value}
