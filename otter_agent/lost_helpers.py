"""Looks whether helper processes that meshes live by have ended, and tells those who keep them.

Relays and tunnels are made again by the mesh's own convergence; what carries links comes back by
itself, and only what didn't pass meanwhile is told. Must not know: how any of them works.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from otter_agent.book import Emit
from otter_agent.keeper import MeshKeeper
from otter_agent.machine import Machine

CHECK_S = 1.0


async def watch(machine: Machine, keepers: Mapping[str, MeshKeeper], emit: Emit) -> None:
    """Look once a second, for ever.

    Args:
        machine: Its drivers say what has ended.
        keepers: Mesh -> who keeps it; changes while this runs.
        emit: Records events.
    """
    while True:
        await asyncio.sleep(CHECK_S)
        for mesh in machine.network.lost():
            if mesh in keepers:
                keepers[mesh].lost_outside()
        for mesh in machine.network.lost_tunnels():
            if mesh in keepers:
                keepers[mesh].lost_tunnels()
        for driver in machine.link_drivers():
            for mesh, gap_s in driver.lost().items():
                if mesh in keepers:
                    text = f"what carries the links ended: nothing passed for {gap_s:.3f} s"
                    emit(mesh, "link", "", text, "lost", {"gap_s": gap_s})
                    keepers[mesh].fidelity.lost(gap_s)
