"""What hosts and modules use, read from their control groups. Blocking."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from net.errors import OtterError
from otter_agent import api
from otter_agent.cgroups import Cgroups


def usage(
    cgroups: Cgroups | None, mesh: str, hosts: Iterable[str], modules: Iterable[api.ModuleStatus]
) -> list[api.Usage]:
    """Of hosts, then of modules that run; where there are no groups, nothing but their names.

    A module's group is that of its first process: whatever its runtime calls it.
    """
    return [*_hosts(cgroups, mesh, hosts), *_modules(cgroups, modules)]


def _hosts(cgroups: Cgroups | None, mesh: str, hosts: Iterable[str]) -> Iterator[api.Usage]:
    for name in hosts:
        cpu_s, memory = _read(cgroups, f"{mesh}/{name}")
        yield api.Usage(
            kind="host", name=name, at_s=time.monotonic(), cpu_s=cpu_s, memory_bytes=memory
        )


def _modules(cgroups: Cgroups | None, modules: Iterable[api.ModuleStatus]) -> Iterator[api.Usage]:
    for module in modules:
        if module.pid is None:
            continue
        group = cgroups.group_of(module.pid) if cgroups is not None else None
        cpu_s, memory = _read(cgroups, group)
        yield api.Usage(
            kind="module",
            name=module.name,
            host=module.host,
            at_s=time.monotonic(),
            cpu_s=cpu_s,
            memory_bytes=memory,
        )


def _read(cgroups: Cgroups | None, group: str | None) -> tuple[float | None, int | None]:
    if cgroups is None or group is None:
        return None, None
    try:
        return cgroups.cpu_used_s(group), cgroups.memory_used(group)
    except (OSError, OtterError, ValueError):  # it has just ended
        return None, None
