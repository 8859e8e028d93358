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
        self._revoked: dict[tuple[str, str], int] = {}
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
        try:
            self._held = await asyncio.to_thread(self._keep, specs)
            self._trouble = ""
        except OSError as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                self._tell("", "gpu", "turns", self._trouble, "failed")
            return ()
        for held in self._held:
            self._look_at(held)
        return tuple(map(told, self._held))

    def _keep(self, specs: list[api.MeshSpec]) -> tuple[Held, ...]:
        return self._leases.keep(members(self._layout, specs))

    def _look_at(self, held: Held) -> None:
        before = self._revoked.get((held.name, held.what), 0)
        self._revoked[held.name, held.what] = held.revoked
        if held.revoked > before:
            mesh, _, module = held.name.partition("/")
            text = f"its turn of {held.what} lasted over {LONGEST_S:g} s: others go on beside it"
            self._tell(mesh, "gpu", module, text, "revoked")
