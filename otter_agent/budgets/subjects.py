"""Hosts and modules as things that have a budget. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from otter_agent import api

Kind = Literal["host", "module"]
FIELDS = ("cpu", "memory_bytes")
"""Of `api.Budget`, those that can be changed."""
LEAST_CORES = 0.001
"""A quota is at least 1 ms, a period at most 1 s: otter_agent/cgroups/quota.py."""


class Subject(NamedTuple):
    """A host or a module, by its name in the topology."""

    kind: Kind
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


def asked(spec: api.MeshSpec) -> dict[Subject, api.Budget]:
    """What the topology asks of each; in its order."""
    found = {Subject("host", h.name): _budget(h.cpu, h.memory_bytes) for h in spec.hosts}
    return found | {Subject("module", m.name): _budget(m.cpu, m.memory_bytes) for m in spec.modules}


def with_hosts(spec: api.MeshSpec, budgets: Mapping[str, api.Budget]) -> api.MeshSpec:
    """The spec with other budgets of some hosts."""
    from msgspec.structs import replace

    hosts = (
        replace(host, cpu=b.cpu, memory_bytes=b.memory_bytes)
        if (b := budgets.get(host.name)) is not None
        else host
        for host in spec.hosts
    )
    return replace(spec, hosts=tuple(hosts))


def problem(values: Mapping[str, Any]) -> str:
    """Why what is asked makes no sense; "" if it does."""
    cpu, memory = values.get("cpu"), values.get("memory_bytes")
    if cpu is not None and not LEAST_CORES <= cpu <= api.MAX_CORES:
        return f"{cpu:g} cores: from {LEAST_CORES:g} to {api.MAX_CORES:g} can be asked for"
    if memory is not None and not 1 <= memory < 1 << 60:
        return f"{memory} bytes of memory: at least 1 can be asked for"
    return ""


def _budget(cpu: float | None, memory_bytes: int | None) -> api.Budget:
    return api.Budget(cpu=cpu, memory_bytes=memory_bytes)
