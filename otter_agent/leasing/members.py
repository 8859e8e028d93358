"""Which modules take turns of a GPU, where, and with which weight."""

from __future__ import annotations

from collections.abc import Iterable

from otter_agent import api
from otter_agent.layout import Layout
from otter_agent.leasing.words import Held, Member


def member(layout: Layout, mesh: str, module: api.ModuleSpec) -> Member:
    """A module that has a share."""
    return Member(
        name=f"{mesh}/{module.name}",
        socket=str(layout.module(mesh, module.name).turns),
        weight=module.gpu_share or 0.0,
    )


def members(layout: Layout, specs: Iterable[api.MeshSpec]) -> dict[str, Member]:
    """All that have their folders already: those to come are put when they are made."""
    found = [
        member(layout, spec.name, module)
        for spec in specs
        for module in spec.modules
        if module.gpu_share is not None
        and module.runtime != "fake"
        and layout.module(spec.name, module.name).wiring.is_dir()
    ]
    return {one.name: one for one in found}


def told(held: Held) -> api.GpuShare:
    """As the API says it."""
    mesh, _, module = held.name.partition("/")
    return api.GpuShare(
        mesh=mesh,
        module=module,
        thing=held.what,
        weight=held.weight,
        held_s=held.held_s,
        turns=held.turns,
        revoked=held.revoked,
        waiting=held.waiting,
        holds_s=held.holds_s,
    )
