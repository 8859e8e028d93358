"""Hosts and modules as things that have a budget. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from otter_agent import api

Kind = Literal["host", "module"]
DISKS = api.DISKS
RATES = api.RATES
FIELDS = ("cpu", "speed", "memory_bytes", *DISKS, *RATES, "gpu_share")
"""Of `api.Budget`, those of hosts that can be changed."""
OF_MODULES = ("cpu", "memory_bytes", *DISKS, *RATES, "gpu_share")
"""The same of modules."""
ALL = tuple(dict.fromkeys((*FIELDS, *OF_MODULES)))
FRACTIONS = ("cpu", "speed", *RATES, "gpu_share")
"""Of these, those that are no whole numbers."""
LEAST_CORES = 0.001
"""A quota is at least 1 ms, a period at most 1 s: otter_agent/cgroups/quota.py."""
LEAST_SHARE = 0.001


class Subject(NamedTuple):
    """A host or a module, by its name in the topology."""

    kind: Kind
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


def asked(spec: api.MeshSpec) -> dict[Subject, api.Budget]:
    """What the topology asks of each; in its order."""
    found = {Subject("host", h.name): api.asked_of(h) for h in spec.hosts}
    return found | {Subject("module", m.name): api.asked_of(m) for m in spec.modules}


def fields_of(kind: Kind) -> tuple[str, ...]:
    """What can be asked of one of that kind."""
    return OF_MODULES if kind == "module" else FIELDS


def with_shares(spec: api.MeshSpec, shares: Mapping[str, float | None]) -> api.MeshSpec:
    """The spec with other shares of a GPU of some modules."""
    from msgspec.structs import replace

    changed = {m.name for m in spec.modules if m.gpu_share != shares.get(m.name, m.gpu_share)}
    if not changed:
        return spec
    modules = (
        replace(m, gpu_share=shares[m.name]) if m.name in changed else m for m in spec.modules
    )
    return replace(spec, modules=tuple(modules))


def with_hosts(spec: api.MeshSpec, budgets: Mapping[str, api.Budget]) -> api.MeshSpec:
    """The spec with other budgets of some hosts."""
    from msgspec.structs import replace

    hosts = (
        replace(host, **{name: getattr(b, name) for name in FIELDS})
        if (b := budgets.get(host.name)) is not None
        else host
        for host in spec.hosts
    )
    return replace(spec, hosts=tuple(hosts))


def problem(values: Mapping[str, Any], kind: str = "host") -> str:
    """Why what is asked makes no sense; "" if it does."""
    cpu, memory, speed = (values.get(name) for name in ("cpu", "memory_bytes", "speed"))
    if cpu is not None and not LEAST_CORES <= cpu <= api.MAX_CORES:
        return f"{cpu:g} cores: from {LEAST_CORES:g} to {api.MAX_CORES:g} can be asked for"
    if speed is not None and not LEAST_CORES <= speed <= api.MAX_SPEED:
        return f"a speed of {speed:g}: from {LEAST_CORES:g} to {api.MAX_SPEED:g} can be asked for"
    if speed is not None and kind != "host":
        return "its cores are as fast as its host's: a speed is a host's"
    if memory is not None and not 1 <= memory < 1 << 60:
        return f"{memory} bytes of memory: at least 1 can be asked for"
    share = values.get("gpu_share", 1)
    if share is None or not LEAST_SHARE <= share <= api.MOST_WEIGHT:
        most = f"{api.MOST_WEIGHT:g}"
        return f"a share of {share}: from {LEAST_SHARE:g} to {most} can be asked for (1 is 100%)"
    for name in RATES:
        value = values.get(name)
        if value is not None and not 8 <= value <= 1e13:
            return f"{value:g} bit/s: from 8bit to 10tbit can be asked for"
    for name in DISKS:
        value = values.get(name)
        if value is not None and not 1 <= value < 1 << 60:
            return f"{name} of {value}: at least 1 can be asked for"
    return ""
