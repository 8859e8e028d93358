"""Where no control groups can be had: no budgets, but a module's processes are known all the same.

A module is shown its own /etc/hosts, in a mount namespace that it can't leave: whoever sees that
file there is of the module (see `members`). Must not know: why there are no groups.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import ClassVar, Literal

from otter_agent.api import Budget
from otter_agent.cgroups import members
from otter_agent.cgroups.base import Cgroups
from otter_agent.cgroups.quota import Quota
from otter_agent.layout import Layout

_NOWHERE = Path("/nonexistent")


class Ungrouped(Cgroups):
    """Groups that limit nothing; only a module's (`mesh/host/module`) have members.

    Args:
        layout: Where modules' files are.
    """

    version: ClassVar[Literal["v1", "v2", "none"]] = "none"

    def __init__(self, layout: Layout) -> None:
        super().__init__("none")
        self._layout = layout

    def read(self, group: str) -> Budget:
        """Nothing is ever in force."""
        return Budget()

    def procs_files(self, group: str) -> list[Path]:
        """None: there is nothing to enter."""
        return []

    def kill_directory(self, group: str) -> Path:
        """See base: here the file by which members are known."""
        mesh, _, module = group.split("/")
        return Path(f"{members.SEEING}{self._layout.module(mesh, module).hosts}")

    def oom_file(self, group: str) -> Path:
        """None: nobody counts."""
        return _NOWHERE

    def usage_file(self, group: str) -> Path | None:
        """None: nobody measures."""
        return None

    def memory_used(self, group: str) -> int:
        """See base: nobody counts."""
        raise FileNotFoundError(errno.ENOENT, "no control groups here", group)

    def groups(self) -> list[str]:
        """None: nothing is made."""
        return []

    def remove(self, group: str) -> None:
        """There is nothing to remove."""

    def _trees(self) -> list[Path]:
        return []

    def _make(self, group: str) -> None:
        pass

    def _set_cpu(self, group: str, quota: Quota | None) -> None:
        pass

    def _set_memory(self, group: str, limit_bytes: int | None) -> None:
        pass

    def _set_pids(self, group: str, limit: int | None) -> None:
        pass

    def _peak_file(self, group: str) -> Path:
        return _NOWHERE

    def _set_disks(self, group: str, budget: Budget) -> None:
        pass

    def _no_disks(self) -> str:
        return "there are no control groups"
