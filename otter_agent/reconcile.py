"""(desired, observed, memory, now) -> what to do next. Pure: the agent's policy, and nothing else.

A module goes through these steps; each action leads to exactly the next, so that a crash between
any two is repaired by deciding again from what is observed:

    absent ──Prepare──► artifact ──Create──► created ──Start──► held ──Connect──► running
       ▲                                        ▲                                   │ exits, or
       └──Remove (spec changed, or not wanted)  └──────── after a back-off ◄────────┘ Halt (ordered)

Must not know: drivers, sockets, asyncio, the clock (`now` is passed in).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import msgspec

from net.links.spec import LinkSpec
from otter_agent import api
from otter_agent.budgets.subjects import FIELDS
from otter_agent.runtimes.base import Instance, Phase
from otter_agent.supervision import Supervision


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the agent sees of one module right now.

    Attributes:
        instance: From the runtime; None: absent.
        artifact: What it runs has been found or made.
        artifact_error: Why it can't be made.
        connected: Its network is known to be plugged in and it was released.
        ready: It is known to be ready.
        budget: Limits known to be in force.
        wants: Limits that are asked of it now; None: those of its spec.
        busy: An action on it is under way: decide nothing.
        retry_at: Its last action failed: no other before this moment.
        runtime_problem: Why its runtime can't be used now; "" if it can.
    """

    instance: Instance | None = None
    artifact: bool = False
    artifact_error: str = ""
    connected: bool = False
    ready: bool = False
    budget: api.Budget | None = None
    wants: api.Budget | None = None
    busy: bool = False
    retry_at: float = 0.0
    runtime_problem: str = ""


NO_OUTSIDE = "none"
"""The digest of a mesh without gateways and published ports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What the agent sees of one mesh.

    Attributes:
        folders: Digest of the spec for which module folders and host budgets were last made.
        network: Digest of the spec for which namespaces, links and routes were last made.
        links: Digest of the spec for which links were last made what is asked of them.
        outside: Digest of the spec for which gateways and published ports were last opened.
        modules: By name, also of modules that the spec no longer has.
        busy: Mesh-wide actions under way (`Folders`, `Network`, `Links`, `Outside`).
        retry_at: Mesh-wide action -> not before this moment (it failed before).
    """

    folders: str = ""
    network: str = ""
    links: str = ""
    outside: str = NO_OUTSIDE
    modules: Mapping[str, Seen] = field(default_factory=dict)
    busy: frozenset[str] = frozenset()
    retry_at: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A spec with its digests, worked out once: decisions are made often.

    Attributes:
        modules: By name.
        digests: Name of each module -> `api.instance_digest`.
        folders: Changes when module folders, names or host budgets have to be looked at again.
        network: Changes when namespaces, links or routes have to be looked at again.
        links: Changes when other properties are asked of links.
        outside: As that, of gateways and published ports; `NO_OUTSIDE`: there is none.
    """

    spec: api.MeshSpec
    modules: Mapping[str, api.ModuleSpec]
    digests: Mapping[str, str]
    folders: str
    network: str
    links: str
    outside: str

    @classmethod
    def of(cls, spec: api.MeshSpec) -> Wanted:
        """Work out the digests."""
        return cls(
            spec,
            {m.name: m for m in spec.modules},
            {m.name: api.instance_digest(m) for m in spec.modules},
            _folders_digest(spec),
            _network_digest(spec),
            api.digest(api.encode((spec.links, spec.seed, spec.allow_degraded))),
            _outside_digest(spec),
        )


@dataclass(frozen=True, slots=True)
class Action:
    """Something to do to the mesh (`module` is "") or to one module."""

    module: str = ""


class Folders(Action):
    """Make module folders, hosts files and host budgets."""


class Network(Action):
    """Make namespaces, links, addresses and routes what the spec says."""


class Links(Action):
    """Make links as scarce as is asked."""


class Outside(Action):
    """Open gateways and published ports."""


class Prepare(Action):
    """Find or build what the module runs."""


class Create(Action):
    """absent -> created."""


class Start(Action):
    """created or exited -> held."""


class Connect(Action):
    """held -> running: plug the network in, release. On a running one: see that it is so."""


class Halt(Action):
    """held or running -> exited, because somebody asked for it."""


class Update(Action):
    """Bring new limits into force."""


class Remove(Action):
    """Any -> absent."""


class Account(Action):
    """Take note of an exit, or that it is gone: store `supervision.account(...)` of it."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now, and when to decide again if nothing else happens.

    Attributes:
        actions: To be begun now, beside each other.
        wakes: Module ("" for the mesh) -> the moment to look at it again.
    """

    actions: tuple[Action, ...]
    wakes: Mapping[str, float] = field(default_factory=dict)


def _folders_digest(spec: api.MeshSpec) -> str:
    hosts = [(h.name, api.asked_of(h), h.reaches_out) for h in spec.hosts]
    modules = [(m.name, m.host) for m in spec.modules]
    shared = {end.stream for m in spec.modules for end in m.streams_in if end.transport == "shm"}
    names = spec.directory or sorted(spec.names.items())
    facts = (hosts, modules, names, sorted(shared), spec.clock)
    return api.digest(api.encode(facts))


def _network_digest(spec: api.MeshSpec) -> str:
    """Of all that the network is made from: budgets are the folders' affair."""
    nothing = dict.fromkeys(FIELDS)
    hosts = [msgspec.structs.replace(h, **nothing) for h in spec.hosts]
    changed = spec.timeline.links()
    links = [
        (x.name, x.a, x.b, _is_asked(x.forward), _is_asked(x.reverse), x.name in changed, x.tunnel)
        for x in spec.links
    ]
    ways = [way for x in spec.links for way in (x.forward, x.reverse) if way is not None]
    # Which driver makes them scarce, and so all their devices, may depend on this.
    shared = any(way.medium is not None for way in ways)
    talks = [(other.machine, other.talk) for other in spec.away]
    return api.digest(api.encode((hosts, links, shared, spec.routing, spec.mtu, talks)))


def _is_asked(spec: LinkSpec | None) -> bool | None:
    """Which devices a link needs may depend on whether anything is asked of it."""
    return None if spec is None else bool(spec.asked())


def _outside_digest(spec: api.MeshSpec) -> str:
    publish = [(m.name, m.address, m.publish) for m in spec.modules if m.publish]
    if not publish and not any(h.gateway for h in spec.hosts):
        return NO_OUTSIDE
    return api.digest(api.encode((_network_digest(spec), publish)))


def budget_of(module: api.ModuleSpec) -> api.Budget:
    """The limits a module asks for."""
    return api.asked_of(module)


def reconcile(
    wanted: Wanted,
    observed: Observed,
    memory: Mapping[str, Supervision],
    now: float,
    only: Collection[str] | None = None,
) -> Decision:
    """Decide the next step of every part of a mesh that isn't as desired.

    Args:
        wanted: What is desired.
        observed: What is seen.
        memory: What is remembered of each module.
        now: Unix seconds.
        only: Decide about these modules alone: of the others nothing has changed. None: all.
    """
    actions: list[Action] = []
    wakes: dict[str, float] = {}
    done = _ground(wanted, observed, now, actions, wakes)
    names = [*observed.modules, *(m for m in wanted.modules if m not in observed.modules)]
    for name in names if only is None else only:
        seen = observed.modules.get(name, Seen())
        module = wanted.modules.get(name)
        if seen.busy or (module is not None and seen.runtime_problem):
            continue
        step: Action | float | None
        if module is None:
            step = seen.retry_at if seen.retry_at > now else Remove(name)
        else:
            remembered = memory.get(name, Supervision())
            step = _module_step(module, wanted.digests[name], seen, remembered, now, done)
        if isinstance(step, Action):
            actions.append(step)
        elif step is not None:
            wakes[name] = step
    return Decision(tuple(actions), wakes)


def _ground(
    wanted: Wanted, observed: Observed, now: float, actions: list[Action], wakes: dict[str, float]
) -> frozenset[str]:
    """What all modules stand on; returns which of it is done."""
    done = set()
    for action, digest, have in (
        (Folders(), wanted.folders, observed.folders),
        (Network(), wanted.network, observed.network),
        (Links(), wanted.links, observed.links),
        (Outside(), wanted.outside, observed.outside),
    ):
        name = type(action).__name__
        if have == digest:
            done.add(name)
        elif name in observed.busy or (name in ("Links", "Outside") and "Network" not in done):
            continue
        elif (retry := observed.retry_at.get(name, 0.0)) > now:
            wakes[""] = min(retry, wakes.get("", retry))
        else:
            actions.append(action)
        if name == "Outside" and name in observed.retry_at:
            done.add(name)  # a port that is taken keeps no module from running
    return frozenset(done)


def _module_step(
    module: api.ModuleSpec,
    digest: str,
    seen: Seen,
    memory: Supervision,
    now: float,
    done: frozenset[str],
) -> Action | float | None:
    """The next action for a module, or the moment to look again, or nothing to do."""
    instance = seen.instance
    if seen.retry_at > now:
        return seen.retry_at
    if instance is not None and instance.spec_digest != digest:
        return Remove(module.name)
    alive = instance is not None and instance.phase in (Phase.HELD, Phase.RUNNING)
    if alive and (memory.halting or memory.stopped):
        return Halt(module.name)
    if memory.spec_digest == digest and memory.outcome:
        return None
    if not alive:
        return _to_start(module.name, seen, memory, now, done)
    if not seen.connected:
        return Connect(module.name) if done >= {"Network", "Links", "Outside"} else None
    if seen.budget != (seen.wants or budget_of(module)):
        return Update(module.name)
    return None


def _to_start(
    name: str, seen: Seen, memory: Supervision, now: float, done: frozenset[str]
) -> Action | float | None:
    """The next step of a module that isn't up."""
    instance = seen.instance
    ended = instance is None or instance.phase is Phase.EXITED
    counted = instance is not None and instance.life and instance.life == memory.accounted
    if memory.armed and ended and not counted:
        return Account(name)
    if memory.stopped:
        return None
    if memory.retry_at > now:
        return memory.retry_at
    if seen.artifact_error:
        return None
    if not seen.artifact:
        return Prepare(name)
    if "Folders" not in done:
        return None
    return Create(name) if instance is None else Start(name)
