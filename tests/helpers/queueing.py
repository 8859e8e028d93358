"""Waits for what an input's queue does, by the queue's own word: no looking again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from net.inbox import Edge, Inbox
from net.messages import Message


async def queued(inbox: Inbox, check: Callable[[], object], *, within_s: float = 10.0) -> None:
    """Until `check` holds, which is asked whenever a message has come to the queue."""
    news, queue_up = asyncio.Event(), inbox.queue_up

    def noted(message: Message, edge: Edge) -> bool:
        kept = queue_up(message, edge)
        news.set()
        return kept

    inbox.queue_up = noted  # type: ignore[method-assign]
    try:
        async with asyncio.timeout(within_s):
            while not check():
                news.clear()
                await news.wait()
    finally:
        del inbox.queue_up
