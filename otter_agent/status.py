"""Puts together what `status` shows of a mesh. Reads, changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from net.errors import OtterError
from otter_agent import api
from otter_agent.machine import Machine
from otter_agent.reconcile import Supervision
from otter_agent.runtimes.base import Phase
from otter_agent.version import VERSION

if TYPE_CHECKING:
    from otter_agent.keeper import MeshKeeper, Part


def mesh_status(
    machine: Machine,
    keeper: MeshKeeper,
    parts: Mapping[str, Part],
    memory: Mapping[str, Supervision],
    settled: int,
) -> api.MeshStatus:
    """The answer of `GET /v1/meshes/NAME`."""
    spec = keeper.desired.spec
    name = machine.config.name
    return api.MeshStatus(
        mesh=spec.name,
        state=keeper.mesh_state(),
        generation=keeper.desired.generation,
        settled=settled,
        machines=(api.MachineStatus(name=name, reachable=True, version=VERSION),),
        hosts=tuple(_host(machine, spec.name, h) for h in spec.hosts),
        modules=tuple(_module(keeper, m, parts[m.name], memory) for m in spec.modules),
        links=tuple(s for link in spec.links for s in _directions(link)),
        spec=spec,
        problem=keeper.problem,
    )


def _host(machine: Machine, mesh: str, host: api.HostSpec) -> api.HostStatus:
    asked = api.Budget(cpu=host.cpu, memory_bytes=host.memory_bytes)
    in_force = api.Budget()
    if machine.cgroups is not None:
        try:
            in_force = machine.cgroups.read(f"{mesh}/{host.name}")
        except OtterError:
            in_force = api.Budget()  # not made yet
    return api.HostStatus(
        name=host.name,
        machine=machine.config.name,
        address=host.address,
        cpu=in_force.cpu,
        memory_bytes=in_force.memory_bytes,
        asked=asked,
        in_force=in_force,
    )


def _module(
    keeper: MeshKeeper, module: api.ModuleSpec, part: Part, memory: Mapping[str, Supervision]
) -> api.ModuleStatus:
    state, reason = keeper.state_of(module)
    kept = memory.get(module.name, Supervision())
    alive = part.instance is not None and part.instance.phase in (Phase.HELD, Phase.RUNNING)
    troubled = state in ("failed", "restarting")
    return api.ModuleStatus(
        name=module.name,
        host=module.host,
        address=module.address,
        runtime=module.runtime,
        state=state,
        restarts=kept.restarts,
        pid=part.instance.pid if part.instance is not None and alive else None,
        exit_code=kept.exit_code,
        reason=reason,
        log_tail=(part.error_tail or kept.log_tail) if troubled else (),
        image=part.artifact.digest if part.artifact else kept.artifact,
    )


def _directions(link: api.Link) -> list[api.LinkStatus]:
    """One entry per direction that the topology asks for; nothing is applied yet."""
    both = ((link.a, link.b, link.forward), (link.b, link.a, link.reverse))
    return [
        api.LinkStatus(
            name=link.name, from_=a, to=b, driver="none", asked=dict(asked.asked()), applied=None
        )
        for a, b, asked in both
        if asked is not None
    ]
