"""Keeps the arbiter telling what meshes ask now, and tells of turns that were taken away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress

from otter_agent import api
from otter_agent.layout import Layout
from otter_agent.leasing.client import Leases
from otter_agent.leasing.fair import LONGEST_S
from otter_agent.leasing.members import members, told
from otter_agent.leasing.words import Held

LOOK_S = 0.5
"""Another share is in force after that, and an arbiter that was killed has a successor."""


class Keeping:
    """Of one agent.

    Args:
        leases: What speaks with the arbiter.
        layout: Of the agent.
        specs: All meshes, as they are wanted now.
        tell: Records an event: mesh, kind, subject, text, state.
    """

    def __init__(
        self,
        leases: Leases,
        layout: Layout,
        specs: Callable[[], Iterable[api.MeshSpec]],
        tell: Callable[[str, str, str, str, str], None],
    ) -> None:
        self._leases = leases
        self._layout = layout
        self._specs = specs
        self._tell = tell
        self._revoked: dict[tuple[str, str], int] | None = None
        self._held: tuple[Held, ...] = ()
        self._trouble = ""

    async def run(self) -> None:
        """Until cancelled; the arbiter lives on."""
        try:
            while True:
                await self.look()
                await asyncio.sleep(LOOK_S)
        finally:
            with suppress(OSError):  # a mesh may be gone since, and nobody left to share
                self._keep(list(self._specs()))

    async def look(self) -> tuple[api.GpuShare, ...]:
        """Who shares now, and what each had."""
        specs = list(self._specs())
        asked = any(module.gpu_share is not None for spec in specs for module in spec.modules)
        if not asked and self._leases.idle:
            return ()
        try:
            self._held = await asyncio.to_thread(self._keep, specs)
            self._trouble = ""
        except OSError as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                self._tell("", "gpu", "turns", self._trouble, "failed")
            return ()
        self._look_for_revoked()
        return tuple(map(told, self._held))

    def _keep(self, specs: list[api.MeshSpec]) -> tuple[Held, ...]:
        return self._leases.keep(members(self._layout, specs))

    def _look_for_revoked(self) -> None:
        """Tell of turns that were taken away since the last look; a predecessor told of others."""
        before, now = self._revoked, {(one.name, one.what): one.revoked for one in self._held}
        self._revoked = now
        if before is None:
            return
        for (name, what), revoked in now.items():
            if revoked > before.get((name, what), 0):
                mesh, _, module = name.partition("/")
                text = f"its turn of {what} lasted over {LONGEST_S:g} s: others go on beside it"
                self._tell(mesh, "gpu", module, text, "revoked")
