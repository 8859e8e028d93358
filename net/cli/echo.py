"""What `recv` does for `ping` and `bench`: sends back what comes, or swallows and counts it.

A stream leads one way, so who asks listens too, and says where: the first message of its stream
is `{"net": "hello", "address": …, "port": …}`. Then, in any order:

    anything else                     sent back, `reply_to` it
    {"net": "swallow"}                from now on nothing is sent back
    {"net": "end"}                    until now; the answer says how many messages and bytes came
    {"net": "bye"}                    it leaves

Nobody can hold up the others: what an asker doesn't take is dropped, and the one that has been
silent for longest makes room where there are too many.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from net.cli.endless import messages
from net.errors import TransportError
from net.inbox import Inbox
from net.messages import Message

ECHO, BACK = "net.echo", "net.back"
MOST = 64
WAITING = 256


@dataclass(slots=True)
class Asker:
    """One who asks: the way back, where it leads, and what was swallowed."""

    back: Any
    where: tuple[str, int]
    swallows: bool = False
    count: int = 0
    nbytes: int = 0


class Echo:
    """Answers what comes to the input ECHO.

    Args:
        connect: Makes the way back: that of `net.stream` or `net.datagram`.
    """

    def __init__(self, connect: Callable[..., Any]) -> None:
        self._connect = connect
        self._askers: dict[str, Asker] = {}  # who was heard last is last

    async def serve(self, inbox: Inbox) -> None:
        """Until cancelled."""
        try:
            async for message in messages(inbox):
                await self._answer(message)
        finally:
            for asker in self._askers.values():
                await _leave(asker)

    async def _answer(self, message: Message) -> None:
        value = message.value
        order = value.get("net") if isinstance(value, dict) else None
        if order == "hello":
            await self._greet(message)
        asker = self._askers.pop(message.stream, None)
        if asker is None:
            return
        if order == "bye":
            await _leave(asker)
            return
        self._askers[message.stream] = asker
        await self._serve_one(asker, order, message)

    async def _serve_one(self, asker: Asker, order: object, message: Message) -> None:
        reply: Any = message.value
        if order == "swallow":
            asker.swallows, asker.count, asker.nbytes = True, 0, 0
            return
        if order == "end":
            asker.swallows = False
            reply = {"net": "end", "messages": asker.count, "bytes": asker.nbytes}
        elif asker.swallows:
            asker.count += 1
            asker.nbytes += message.size_bytes
            return
        try:
            await asker.back.send(reply, reply_to=message.id)
        except TransportError:  # it has gone; its next hello, if any, starts anew
            await _leave(self._askers.pop(message.stream))

    async def _greet(self, message: Message) -> None:
        address, port = message.value.get("address"), message.value.get("port")
        if type(address) is not str or type(port) is not int or not 0 < port < 65536:
            return
        where = (address, port)
        if former := self._askers.get(message.stream):
            if former.where == where and not former.back.stats().messages:
                return  # the way there is being made: another one would take as long again
            await _leave(self._askers.pop(message.stream))
        if len(self._askers) >= MOST:
            await _leave(self._askers.pop(next(iter(self._askers))))
        back = self._connect(
            address, port, input=BACK, sender=f"echo of {message.source}"[:200],
            policy="drop-oldest", queue=WAITING,
        )  # fmt: skip
        self._askers[message.stream] = Asker(back, where)


async def _leave(asker: Asker) -> None:
    """Without a last word: whoever asked has gone, or goes."""
    await asker.back.__aexit__(TransportError, TransportError("over"), None)
