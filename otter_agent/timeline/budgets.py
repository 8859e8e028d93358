"""Budgets of a mesh's hosts as its timeline has them, on top of what the topology asks.

Changed on the event loop; groups are written in threads. Must not know: who plays, modules.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Mapping

import msgspec

from net.errors import OtterError
from net.links.changes import Change
from otter_agent import api
from otter_agent.cgroups import Cgroups


class Budgets:
    """Of one mesh.

    Args:
        mesh: Its name.
        cgroups: None: there are none on this machine, and nothing can be changed.
    """

    def __init__(self, mesh: str, cgroups: Cgroups | None) -> None:
        self._mesh = mesh
        self._cgroups = cgroups
        self._changes: dict[str, Change] = {}
        self._writing = threading.Lock()

    def of(self, host: api.HostSpec) -> api.Budget:
        """What is asked of a host now."""
        asked = api.Budget(cpu=host.cpu, memory_bytes=host.memory_bytes)
        change = self._changes.get(host.name, Change())
        return msgspec.structs.replace(asked, **change.values)

    async def change(
        self, changes: Mapping[str, Change], hosts: Mapping[str, api.HostSpec]
    ) -> dict[str, str]:
        """Change hosts, and return when that is in force; why it isn't, by host.

        Args:
            changes: Host -> all that differs from the topology.
            hosts: The topology's, by name; others are passed over.
        """
        self._changes = {h: c for h, c in {**self._changes, **changes}.items() if c and h in hosts}
        wanted = [hosts[name] for name in changes if name in hosts]
        return await asyncio.to_thread(self._write, wanted)

    def ensure(self, host: api.HostSpec) -> None:
        """Make a host's group, with what is asked of it now; blocking.

        Raises:
            CgroupError: The kernel refused.
        """
        assert self._cgroups is not None
        with self._writing:  # what is read here is newer than all that was written before
            self._cgroups.ensure(f"{self._mesh}/{host.name}", self.of(host))

    def _write(self, wanted: Iterable[api.HostSpec]) -> dict[str, str]:
        failed = {}
        for host in wanted:
            try:
                if self._cgroups is None:
                    failed[host.name] = "this machine has no cgroups to limit it by"
                else:
                    self.ensure(host)
            except OtterError as error:
                failed[host.name] = str(error)
        return failed
