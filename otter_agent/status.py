"""Puts together what `status` shows of a mesh. Reads, changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from otter_agent import api
from otter_agent.admission import Holding
from otter_agent.budgets.book import BudgetBook
from otter_agent.budgets.subjects import Subject
from otter_agent.links import cells
from otter_agent.links.book import LinkBook
from otter_agent.machine import Machine
from otter_agent.part import Part
from otter_agent.runtimes.base import Phase
from otter_agent.state import DesiredMesh
from otter_agent.supervision import Supervision
from otter_agent.users import user_name
from otter_agent.version import VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshView:
    """What a keeper lets be seen of its mesh.

    Attributes:
        settled: The generation that was reached last.
        problem: What keeps the mesh as a whole from converging; "" if nothing does.
        states: Module -> its state, and why it isn't ready.
    """

    desired: DesiredMesh
    settled: int
    state: api.MeshState
    problem: str
    states: Mapping[str, tuple[api.ModuleState, str]]
    parts: Mapping[str, Part]
    memory: Mapping[str, Supervision]
    links: LinkBook
    budgets: BudgetBook
    fidelity: api.Fidelity
    timeline: api.TimelineState


def mesh_status(machine: Machine, view: MeshView, excess: str) -> api.MeshStatus:
    """The answer of `GET /v1/meshes/NAME`; `excess`: what all meshes ask beyond the machine."""
    spec = view.desired.spec
    name = spec.machine or machine.config.name
    links = view.links.statuses()
    return api.MeshStatus(
        mesh=spec.name,
        state=view.state,
        generation=view.desired.generation,
        settled=view.settled,
        machines=(
            api.MachineStatus(
                name=name,
                reachable=True,
                version=VERSION,
                user=machine.ground.user,
                lacks=machine.lacks,
                facts=machine.facts(),
                link_driver=view.links.choice.name,
                link_driver_why=view.links.choice.why,
                link_error_s=view.links.choice.error_s,
            ),
        ),
        hosts=tuple(_host(name, view.budgets, h) for h in spec.hosts),
        modules=tuple(
            _module(view, m, _read(view, m), machine.grants.of(spec.name, m.name))
            for m in spec.modules
        ),
        links=links,
        cells=cells.statuses(spec.cells, links),
        fidelity=view.fidelity,
        spec=spec,
        problem=view.problem,
        owner=user_name(view.desired.owner),
        changed_by=user_name(view.desired.author),
        overcommit=_overcommit(view, excess),
        timeline=view.timeline,
    )


def module_statuses(view: MeshView) -> tuple[api.ModuleStatus, ...]:
    """The modules of `status`, without the limits in force: those are asked of the kernel."""
    return tuple(_module(view, m, api.Budget()) for m in view.desired.spec.modules)


def mesh_summary(view: MeshView, excess: str, asker: int | None) -> api.MeshSummary:
    """One line of `ls`, for the user who asks."""
    spec, owner = view.desired.spec, view.desired.owner
    held = Holding.of(spec, machine=view.budgets.machine)
    ready = sum(state in ("ready", "done") for state, _ in view.states.values())
    return api.MeshSummary(
        mesh=spec.name,
        state=view.state,
        run=spec.run,
        hosts=len(spec.hosts),
        modules=len(spec.modules),
        ready=ready,
        owner=user_name(owner),
        mine=None in (owner, asker) or owner == asker,
        overcommit=_overcommit(view, excess),
        cpu=held.cpu,
        memory_bytes=held.memory_bytes,
    )


def _overcommit(view: MeshView, excess: str) -> str:
    return excess or ("allowed" if view.desired.spec.overcommit else "")


def _host(machine: str, budgets: BudgetBook, host: api.HostSpec) -> api.HostStatus:
    told = budgets.status(Subject("host", host.name))
    return api.HostStatus(
        name=host.name,
        machine=machine,
        address=host.address,
        cpu=told.in_force.cpu,
        memory_bytes=told.in_force.memory_bytes,
        asked=told.asked,
        in_force=told.in_force,
        gateway=host.gateway,
        layers=told.layers,
        reverts_in_s=told.reverts_in_s,
        error=told.error,
        note=told.note,
    )


def _read(view: MeshView, module: api.ModuleSpec) -> api.Budget:
    """A module's limits in force; none where it has no group (yet, or any more)."""
    return view.budgets.in_force(Subject("module", module.name))


def _module(
    view: MeshView,
    module: api.ModuleSpec,
    in_force: api.Budget,
    gpu: api.GpuGrant | None = None,
) -> api.ModuleStatus:
    state, reason = view.states[module.name]
    part = view.parts[module.name]
    kept = view.memory.get(module.name, Supervision())
    subject = Subject("module", module.name)
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
        published=module.publish,
        overdue=bool(part.overdue),
        asked=view.budgets.of(subject),
        in_force=in_force,
        layers=view.budgets.layers(subject),
        reverts_in_s=view.budgets.reverts_in_s(subject),
        note=view.budgets.note(subject),
        log_tail=(part.error_tail or kept.log_tail) if troubled else (),
        image=part.artifact.digest if part.artifact else kept.artifact,
        gpu=gpu,
    )
