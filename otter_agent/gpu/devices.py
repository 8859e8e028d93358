"""The machine's GPUs as the agent knows them: what they do, whose processes, whose turns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

from msgspec.structs import replace

from otter_agent import api
from otter_agent.gpu.owners import Running, with_owners
from otter_agent.gpu.watch import Gpus
from otter_agent.gpu.words import News
from otter_agent.layout import Layout
from otter_agent.leasing.client import Leases
from otter_agent.leasing.keeping import Keeping


class Emit(Protocol):
    """`Agent.emit`."""

    def __call__(
        self, mesh: str, kind: str, subject: str, text: str, state: str,
        data: dict[str, Any] | None = None, /,
    ) -> None:  # fmt: skip
        """Record one."""


class Devices:
    """Of one agent.

    Args:
        layout: The agent's.
        leases: What gives turns to modules that share.
        specs: All meshes, as they are wanted now.
        running: All modules that run here now.
        emit: Records events.
        library: Tells where NVIDIA's library is, if it is.
    """

    def __init__(
        self,
        layout: Layout,
        leases: Leases,
        specs: Callable[[], Iterable[api.MeshSpec]],
        running: Callable[[], Iterable[Running]],
        emit: Emit,
        library: Callable[[], Path | None],
    ) -> None:
        self._running = running
        self._emit = emit
        self._gpus = Gpus(layout.run, self._tell, library)
        self._turns = Keeping(leases, layout, specs, emit)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._gpus.run(), name="gpus")
            group.create_task(self._turns.run(), name="turns")

    async def state(self) -> api.GpuState:
        """All GPUs now, which modules use them, and what of their time each had."""
        state = await self._gpus.state()
        state = await asyncio.to_thread(with_owners, state, list(self._running()))
        return replace(state, shares=await self._turns.look())

    def _tell(self, news: News) -> None:
        subject = "driver" if news.index is None else str(news.index)
        data = {"uuid": news.uuid, "xid": news.xid}
        self._emit("", "gpu", subject, news.text, news.kind, data)
