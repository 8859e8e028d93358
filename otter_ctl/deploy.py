"""From a topology file to a running mesh and back: plan, apply, destroy.

Prints nothing: callers pass a function that takes each event. Must not know: the CLI, the terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import msgspec

from otter_agent import api
from otter_ctl.client import AgentClient
from otter_ctl.errors import AgentFault, RemoteError
from otter_ctl.meshes import Meshes
from otter_ctl.planning.capacity import too_much
from otter_ctl.planning.diff import Change, FieldChange, diff
from otter_ctl.planning.diff import with_secrets as diff_with_secrets
from otter_ctl.planning.hosting import Hosting, overfull
from otter_ctl.planning.machines import assign
from otter_ctl.planning.model import Blob, Content, Plan, Upload
from otter_ctl.planning.parts import join, listing, split
from otter_ctl.planning.placement import able
from otter_ctl.planning.resolve import plan
from otter_ctl.planning.tunnels import Wires
from otter_ctl.planning.unheard import Unheard
from otter_ctl.planning.uploads import collect, contents
from otter_ctl.topology import Topology, load
from otter_ctl.topology.model import LOCAL

OnEvent = Callable[[api.Event], None]
SETTLED = frozenset({"ready", "done", "stopped"})
NO_SECRETS: Mapping[str, str] = MappingProxyType({})
RUNTIMES: tuple[api.RuntimeName, ...] = ("docker", "process")
"""In the order of preference where a topology names none."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A plan, with what it would change and what it has to bring.

    Attributes:
        current: The mesh as it is now; None: there is none.
        uploads: Digest of each upload -> a function that gives its content.
        parts: Machine -> its part, where the mesh has several or one that isn't this one.
        currents: Machine -> the part that it has now.
        infos: Machine -> what its agent said of it.
        unheard: Machines that give no answer: what would change there isn't known, so the plan
            is of the others, and can't be brought.
    """

    topology: Topology
    plan: Plan
    current: api.MeshStatus | None
    changes: list[Change]
    uploads: Mapping[str, Content]
    parts: Mapping[str, api.MeshSpec] = field(default_factory=dict)
    currents: Mapping[str, api.MeshStatus] = field(default_factory=dict)
    infos: Mapping[str, api.Info] = field(default_factory=dict)
    unheard: Mapping[str, Unheard] = field(default_factory=dict)

    def part(self, machine: str) -> Prepared:
        """What one machine is to be brought."""
        spec, current = self.parts[machine], self.currents.get(machine)
        stopped = current is not None and any(m.state == "stopped" for m in current.modules)
        same = current is not None and current.spec == spec and not stopped
        return replace(
            self,
            plan=replace(self.plan, spec=spec),
            current=current,
            changes=[] if same else self.changes,
        )

    def told(self) -> list[api.Info]:
        """What the machines of the parts said of themselves, under their names here."""
        infos = {name: self.infos[name] for name in sorted(self.parts)}
        return [
            i if n == LOCAL else msgspec.structs.replace(i, machine=n) for n, i in infos.items()
        ]

    @property
    def nothing_to_do(self) -> bool:
        """All is as asked, and well."""
        if self.changes or self.current is None:
            return False
        settled = self.current.settled == self.current.generation
        return settled and self.current.state == "ready"


def prepare(
    path: Path,
    overrides: Sequence[str],
    current: api.MeshStatus | None,
    info: api.Info | None,
    *,
    run: str = "run",
    topology: Topology | None = None,
    infos: Mapping[str, api.Info] = MappingProxyType({}),
    found: Mapping[str, api.MeshStatus] = MappingProxyType({}),
    wires: Wires | None = None,
    hosting: Hosting | None = None,
    blobs: Mapping[Upload, Blob] | None = None,
    left: tuple[str, ...] = (),
    unheard: Mapping[str, Unheard] = MappingProxyType({}),
) -> Prepared:
    """Load and plan. Contacts nobody: what is there now is passed in.

    Args:
        path: The topology file.
        overrides: `--set`.
        current: The mesh as it is now, on all machines.
        info: This machine's agent; None: there is none.
        run: The id of its run if there is no mesh now.
        topology: It, if it has been loaded.
        infos: The agents of all machines, where others than this one are reached.
        found: The parts that they have now.
        wires: What the machines are to each other; None: only this one is reached.
        hosting: Where hosts are; None: all here.
        blobs: What the topology would upload, if it has been collected.
        left: Machines that are left out, and may still have a part of the mesh.
        unheard: Machines that give no answer; `current` is without what they have.

    Raises:
        TopologyErrors: The file is wrong.
        PlanError: It is right, but can't be run here.
    """
    topology = topology or load(path, overrides)
    several = len(infos) > 1
    here = {LOCAL: info} if info is not None else {}
    if hosting is None and info is not None:
        overfull(topology, assign(topology, None), here)
    blobs = collect(topology) if blobs is None else blobs
    before, supposed = current.spec if current else None, [u.part for u in unheard.values()]
    planned = plan(
        topology,
        current=join(filter(None, (before, *supposed))) if any(supposed) else before,
        runtime_default=_runtime_default(info),
        runtimes={name: _runtime_default(one) for name, one in infos.items()},
        reached=None if wires is None else frozenset(infos),
        blobs=blobs,
        arch=info.arch if info and wires is None else None,  # else `survey` has looked
        arches={name: one.arch for name, one in infos.items()},
        able={name: able(one) for name, one in infos.items()} if several else {},
        hosting=hosting,
        infos=infos or here,
        run=before.run if before else run,
    )
    planned = replace(planned, spec=msgspec.structs.replace(planned.spec, left=left))
    if info is not None:
        slow = too_much(topology, info.link_driver, info.cpus)
        planned = replace(planned, warnings=(*planned.warnings, *slow))
    after, parts = planned.spec, {}
    uploads = contents(blobs)
    if wires is not None:
        parts = split(planned.spec, planned.machines, wires)
        parts = {name: part for name, part in parts.items() if name not in unheard}
        # As `before` is: what stands in several parts in one order.
        after = join(parts.values(), planned.spec.names)
        if listed := listing(planned.spec, planned.machines):
            uploads[api.digest(listed)] = lambda: listed
    stopped = [m.name for m in current.modules if m.state == "stopped"] if current else []
    changes = diff(before, after, stopped)
    if {n: p.spec for n, p in found.items()} != parts and not changes and parts and found:
        changes = moved(found, parts)
    return Prepared(topology, planned, current, changes, uploads, parts, found, infos, unheard)


def moved(found: Mapping[str, api.MeshStatus], parts: Mapping[str, api.MeshSpec]) -> list[Change]:
    """What is the same, but on other machines or reached in another way."""
    names = [n for n in sorted({*found, *parts}) if n not in found or n not in parts]
    names += [n for n in sorted(parts) if n in found and found[n].spec != parts[n]]
    fields = tuple(FieldChange(f"machines.{name}", None, "another part") for name in names)
    return [Change("update", "mesh", next(iter(parts.values())).name, fields)]


async def with_secrets(client: Meshes, prepared: Prepared, values: Mapping[str, str]) -> Prepared:
    """The same, with the restarts of modules that run with other values of their secrets.

    Raises:
        AgentFault: The mesh is somebody else's.
    """
    if prepared.current is None or not values:
        return prepared
    differing = await client.check_secrets(prepared.current.mesh, values)
    return replace(prepared, changes=diff_with_secrets(prepared.changes, differing))


def _runtime_default(info: api.Info | None) -> api.RuntimeName:
    usable = {fact.name for fact in info.runtimes if fact.usable} if info else set()
    return next((name for name in RUNTIMES if name in usable), RUNTIMES[0])


def check_version(machine: str, info: api.Info) -> None:
    """Refuse to plan for an agent that wouldn't understand the plan.

    Raises:
        RemoteError: It speaks another API.
    """
    if info.api_version != api.API_VERSION:
        text = f"its agent is of version {info.version}, which speaks another API"
        mend = f"restart it: kill {info.pid}; meshes live on, the next apply starts a new one"
        hint = mend if machine == LOCAL else f"otterctl machine upgrade {machine}"
        raise RemoteError(machine, text, hint=hint)


def check_runtimes(spec: api.MeshSpec, info: api.Info) -> None:
    """Refuse a plan whose runtimes can't work on the machine, before anything is changed.

    Raises:
        PlanError: Says which module and what is missing.
    """
    facts = {fact.name: fact for fact in info.runtimes}
    for module in spec.modules:
        fact = facts.get(module.runtime)
        if fact is None or not fact.usable:
            why = fact.detail if fact else "this agent has no such runtime"
            raise RemoteError(
                info.machine,
                f"module {module.name}: runtime {module.runtime} can't be used: {why}",
                hint='see `otterctl doctor`; `runtime = "process"` needs no engine',
            )


async def apply(
    client: AgentClient,
    prepared: Prepared,
    on_event: OnEvent,
    *,
    wait: bool,
    secrets: Mapping[str, str] = NO_SECRETS,
    on_accepted: Callable[[api.MeshStatus], None] = lambda status: None,
    retry: bool = True,
) -> api.MeshStatus:
    """Bring the plan and the values of its secrets to the agent; wait until the mesh has settled.

    Args:
        client: The agent.
        prepared: What to bring.
        on_event: Takes each event meanwhile.
        wait: Until the mesh has settled; else return once the agent has the plan.
        secrets: Values by name.
        on_accepted: Called once the agent has taken the plan: nobody else's stands against it.
        retry: Whether modules that have failed or were stopped, and are as before, are tried again.

    Cancellation: the agent goes on towards the plan; the next apply or destroy takes it from there.

    Raises:
        RemoteError: The agent went away; or somebody else changed the mesh while it was applied.
        AgentFault: It refused the plan.
    """
    spec = prepared.plan.spec
    async with client.events(mesh=spec.name, follow=True) as events:
        if prepared.nothing_to_do and prepared.current is not None:
            status = prepared.current
        else:
            made_for = prepared.current.generation if prepared.current else 0
            status = await client.put_mesh(spec, prepared.uploads, generation=made_for, retry=retry)
        mine = status.generation
        on_accepted(status)
        if secrets:
            status = await client.put_secrets(spec.name, secrets)
        if not wait or _settled(status):
            return status
        async for event in events:
            on_event(event)
            if event.kind == "mesh" and event.state == "settled":
                status = await client.mesh(spec.name)
                if status.generation != mine:
                    text = f"mesh {spec.name} was changed{_by(status)} while it was applied"
                    raise RemoteError(client.machine, text, hint="see `otterctl plan`")
                if _settled(status):
                    return status
            if event.state == "destroyed":
                text = f"mesh {spec.name} was destroyed by somebody else while it was applied"
                raise RemoteError(client.machine, text)
    raise RemoteError(client.machine, "the agent went away", hint="apply again: it goes on")


def _by(status: api.MeshStatus) -> str:
    return f" by {status.changed_by}" if status.changed_by else ""


def _settled(status: api.MeshStatus) -> bool:
    return status.settled == status.generation


async def destroy(client: AgentClient, mesh: str, on_event: OnEvent) -> None:
    """Remove everything of a mesh and wait until it is gone. Absent: fine.

    Cancellation: the agent goes on with the removal.
    """
    async with client.events(mesh=mesh, follow=True) as events:
        try:
            await client.destroy(mesh)
        except AgentFault as fault:
            if fault.code == "not-found":
                return
            raise
        async for event in events:
            on_event(event)
            if event.kind == "mesh" and event.state == "destroyed":
                return
    raise RemoteError(client.machine, "the agent went away", hint="run destroy again")
