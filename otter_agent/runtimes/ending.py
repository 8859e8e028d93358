"""Ends containers one after the other, as far as that takes no time from anyone.

Docker 20.10 locks up for good when containers let go of their networks at the same moment: in its
libnetwork, `getSvcRecords` takes the network's lock and then the controller's, and
`processEndpointDelete` takes them in the other order. Seen once in some twenty times that thirty
containers were killed at once; never one by one. Must not know: modules, when they are to end.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator

from otter_agent.engine import EngineError
from otter_agent.runtimes.containers import Containers

_PROMPT_S = 0.25
"""A container that ends this soon after its signal does so alone; slower ones don't hold up others,
and are apart from each other by their own slowness."""
_TOLD = (404, 409)
"""Gone, or not running: what was wanted."""


class Ending:
    """The order in which an agent's containers end.

    Args:
        containers: What ends them.
    """

    def __init__(self, containers: Containers) -> None:
        self._containers = containers
        self._turn = asyncio.Lock()

    async def kill(self, container_id: str) -> None:
        """SIGKILL to all its processes; returns when they are gone and its network is let go."""
        async with self._turn:
            await self._signal(container_id, "KILL")
            await self._gone(container_id, None)

    async def end(self, container_id: str, signal: str, grace_s: float) -> None:
        """Send `signal`, after `grace_s` SIGKILL; returns when it has ended."""
        deadline = time.monotonic() + grace_s
        async with self._turn:
            await self._signal(container_id, signal)
            if await self._gone(container_id, min(grace_s, _PROMPT_S)):
                return
        if not await self._gone(container_id, deadline - time.monotonic()):
            await self.kill(container_id)

    async def remove(self, container_id: str, *, running: bool) -> None:
        """Remove it, killed first if it runs."""
        if running:
            await self.kill(container_id)
        await self._containers.delete(container_id)

    async def _signal(self, container_id: str, signal: str) -> None:
        with _fine():
            await self._containers.kill(container_id, signal)

    async def _gone(self, container_id: str, within_s: float | None) -> bool:
        try:
            async with asyncio.timeout(None if within_s is None else max(0.0, within_s)):
                with _fine():
                    await self._containers.wait(container_id)
        except TimeoutError:
            return False
        await self._containers.show(container_id)  # answers once its network is let go
        return True


@contextlib.contextmanager
def _fine() -> Iterator[None]:
    try:
        yield
    except EngineError as exc:
        if exc.status not in _TOLD:
            raise
