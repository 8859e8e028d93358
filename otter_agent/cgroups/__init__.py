"""Host and module budgets as control groups: cgroup v1 and v2 behind one small class.

    cgroups = open_cgroups("a1b2")                      # finds out what this kernel has
    cgroups.ensure("mesh/host", Budget(cpu=0.5))        # makes the group, sets it, reads it back
    cgroups.ensure("mesh/host/module", Budget(pids=64))

Import-light on purpose: the process launcher imports `members` from here and must stay small.
Must not know: runtimes, meshes beyond the names in a path, asyncio (callers use a thread).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from otter_agent.cgroups.base import Cgroups
    from otter_agent.cgroups.detect import Probe

__all__ = ["Cgroups", "Probe", "open_cgroups", "probe"]


def open_cgroups(agent_id: str) -> Cgroups:
    """The control groups of this machine, for the agent `agent_id`; nothing is made yet.

    Raises:
        CgroupError: No usable cgroup v1 or v2 here; says what is missing.
    """
    from otter_agent.cgroups.detect import open_detected

    return open_detected(agent_id)


def probe() -> Probe:
    """Which cgroup version can be used here, or why none; changes nothing."""
    from otter_agent.cgroups import detect

    return detect.probe()


def __getattr__(name: str) -> Any:
    if name == "Cgroups":
        from otter_agent.cgroups.base import Cgroups

        return Cgroups
    if name == "Probe":
        from otter_agent.cgroups.detect import Probe

        return Probe
    raise AttributeError(name)
