"""An input that goes on when all its senders have ended: others may come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from net.inbox import Inbox
from net.messages import Message

LOOK_S = 0.05
"""How often it looks for somebody new while nobody is there."""


async def messages(inbox: Inbox) -> AsyncIterator[Message]:
    """Whatever comes, until cancelled."""
    while True:
        async for message in inbox:
            yield message
        await asyncio.sleep(LOOK_S)
