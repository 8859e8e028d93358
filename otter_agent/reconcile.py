"""(desired, observed, memory, now) -> what to do next. Pure: the agent's policy, and nothing else.

A module goes through these steps; each action leads to exactly the next, so that a crash between
any two is repaired by deciding again from what is observed:

    absent ──Prepare──► artifact ──Create──► created ──Start──► held ──Connect──► running
       ▲                                        ▲                                   │ exits
       └──Remove (spec changed, or not wanted)  └──────── after a back-off ◄────────┘

Must not know: drivers, sockets, asyncio, the clock (`now` is passed in).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from otter_agent import api
from otter_agent.runtimes.base import Instance, Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Every time and number of the policy.

    Attributes:
        failures: In a row after which a module is `failed`; with the pauses below after about 8 s.
        backoff_s: Pause after the first failure; doubles with each further one.
        backoff_max_s: It grows no longer than this.
        moment_s: A module without a sign of readiness is ready if it lives this long: most broken
            ones don't.
        healthy_s: A run this long ends a series of failures (systemd's and Kubernetes' are alike).
        ground_s: Between two tries at namespaces, budgets or removals that failed.
        step_s: An engine that takes longer for one step hangs: the step failed.
        interrupted_s: An exit this shortly before the engine went away was the engine's doing.
    """

    failures: int = 5
    backoff_s: float = 0.5
    backoff_max_s: float = 30.0
    moment_s: float = 0.1
    healthy_s: float = 60.0
    ground_s: float = 2.0
    step_s: float = 120.0
    interrupted_s: float = 20.0

    def pause_s(self, streak: int) -> float:
        """Before the next start, after `streak` failures in a row."""
        return min(self.backoff_s * 2.0 ** max(0, streak - 1), self.backoff_max_s)

    def moment_of(self, memory: Supervision) -> float:
        """How long a module without a sign of readiness has to live to count as ready.

        After failures longer, so that a crash loop never looks ready.
        """
        return self.moment_s if memory.streak == 0 else 2 * self.pause_s(memory.streak)


PATIENCE = Patience()


@dataclass(frozen=True, slots=True, kw_only=True)
class Supervision:
    """What the agent remembers of a module across its own restarts.

    Attributes:
        spec_digest: The `api.instance_digest` this memory is about; another one starts afresh.
        restarts: Starts after the first.
        streak: Failures in a row.
        armed: A start was made and its exit isn't accounted for yet.
        started_at: When it was last released (unix seconds).
        retry_at: No start before this moment.
        exit_code: Of the last exit.
        exited_at: When that was noticed.
        outcome: "" while it is to run, else `done` or `failed`: no more starts.
        reason: Why it isn't running, one line.
        log_tail: Last lines of its log at the last failure.
        artifact: Content id of the image or environment its instance was made from.
    """

    spec_digest: str = ""
    restarts: int = 0
    streak: int = 0
    armed: bool = False
    started_at: float = 0.0
    retry_at: float = 0.0
    exit_code: int | None = None
    exited_at: float = 0.0
    outcome: str = ""
    reason: str = ""
    log_tail: tuple[str, ...] = ()
    artifact: str = ""


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
    busy: bool = False
    retry_at: float = 0.0
    runtime_problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What the agent sees of one mesh.

    Attributes:
        folders: Digest of the spec for which module folders and host budgets were last made.
        network: Digest of the spec for which namespaces, links and routes were last made.
        modules: By name, also of modules that the spec no longer has.
        busy: Mesh-wide actions under way (`Folders`, `Network`).
        retry_at: Mesh-wide action -> not before this moment (it failed before).
    """

    folders: str = ""
    network: str = ""
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
    """

    spec: api.MeshSpec
    modules: Mapping[str, api.ModuleSpec]
    digests: Mapping[str, str]
    folders: str
    network: str

    @classmethod
    def of(cls, spec: api.MeshSpec) -> Wanted:
        """Work out the digests."""
        return cls(
            spec,
            {m.name: m for m in spec.modules},
            {m.name: api.instance_digest(m) for m in spec.modules},
            _folders_digest(spec),
            _network_digest(spec),
        )


@dataclass(frozen=True, slots=True)
class Action:
    """Something to do to the mesh (`module` is "") or to one module."""

    module: str = ""


class Folders(Action):
    """Make module folders, hosts files and host budgets."""


class Network(Action):
    """Make namespaces, links, addresses and routes what the spec says."""


class Prepare(Action):
    """Find or build what the module runs."""


class Create(Action):
    """absent -> created."""


class Start(Action):
    """created or exited -> held."""


class Connect(Action):
    """held -> running: plug the network in, release. On a running one: see that it is so."""


class Update(Action):
    """Bring new limits into force."""


class Remove(Action):
    """Any -> absent."""


class Account(Action):
    """Take note of an exit: store `account(...)` of it."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now, and when to decide again if nothing else happens (None: no need)."""

    actions: tuple[Action, ...]
    wake_at: float | None


def _folders_digest(spec: api.MeshSpec) -> str:
    hosts = tuple((h.name, h.cpu, h.memory_bytes) for h in spec.hosts)
    modules = tuple((m.name, m.host) for m in spec.modules)
    return api.digest(repr((hosts, modules, sorted(spec.names.items()))).encode())


def _network_digest(spec: api.MeshSpec) -> str:
    hosts = tuple((h.name, h.address, h.block, h.routes) for h in spec.hosts)
    return api.digest(repr((hosts, spec.links)).encode())


def budget_of(module: api.ModuleSpec) -> api.Budget:
    """The limits a module asks for."""
    return api.Budget(cpu=module.cpu, memory_bytes=module.memory_bytes)


def reconcile(
    wanted: Wanted, observed: Observed, memory: Mapping[str, Supervision], now: float
) -> Decision:
    """Decide the next step of every part of a mesh that isn't as desired."""
    actions: list[Action] = []
    wakes: list[float] = []
    done = _ground(wanted, observed, now, actions, wakes)
    for name, seen in observed.modules.items():
        if name in wanted.modules or seen.busy:
            continue
        if seen.retry_at > now:
            wakes.append(seen.retry_at)
        else:
            actions.append(Remove(name))
    for name, module in wanted.modules.items():
        seen = observed.modules.get(name, Seen())
        if seen.busy or seen.runtime_problem:
            continue
        remembered = memory.get(name, Supervision())
        step = _module_step(module, wanted.digests[name], seen, remembered, now, done)
        if isinstance(step, Action):
            actions.append(step)
        elif step is not None:
            wakes.append(step)
    return Decision(tuple(actions), min(wakes, default=None))


def _ground(
    wanted: Wanted, observed: Observed, now: float, actions: list[Action], wakes: list[float]
) -> frozenset[str]:
    """What all modules stand on; returns which of it is done."""
    done = set()
    for action, digest, have in (
        (Folders(), wanted.folders, observed.folders),
        (Network(), wanted.network, observed.network),
    ):
        name = type(action).__name__
        if have == digest:
            done.add(name)
        elif name in observed.busy:
            continue
        elif (retry := observed.retry_at.get(name, 0.0)) > now:
            wakes.append(retry)
        else:
            actions.append(action)
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
    if memory.spec_digest == digest and memory.outcome:
        return None
    if instance is None or instance.phase in (Phase.CREATED, Phase.EXITED):
        return _to_start(module.name, seen, memory, now, done)
    if not seen.connected:
        return Connect(module.name) if "Network" in done else None
    if seen.budget != budget_of(module):
        return Update(module.name)
    return None


def _to_start(
    name: str, seen: Seen, memory: Supervision, now: float, done: frozenset[str]
) -> Action | float | None:
    """The next step of a module that isn't up."""
    instance = seen.instance
    if instance is not None and instance.phase is Phase.EXITED and memory.armed:
        return Account(name)
    if memory.retry_at > now:
        return memory.retry_at
    if seen.artifact_error:
        return None
    if not seen.artifact:
        return Prepare(name)
    if "Folders" not in done:
        return None
    return Create(name) if instance is None else Start(name)


def account(
    module: api.ModuleSpec,
    memory: Supervision,
    exit_code: int | None,
    now: float,
    *,
    oom: bool = False,
    patience: Patience = PATIENCE,
) -> Supervision:
    """The memory after an exit: done, failed, or to be started again after a back-off."""
    base = replace(memory, armed=False, exit_code=exit_code, exited_at=now)
    if exit_code == 0 and module.restart != "always":
        return replace(base, outcome="done", reason="", streak=0)
    healthy = memory.started_at and now - memory.started_at >= patience.healthy_s
    streak = 1 if healthy else memory.streak + 1
    reason = _exit_reason(exit_code, oom, module)
    if module.restart == "no":
        return replace(base, outcome="failed", reason=reason, streak=streak)
    if streak >= patience.failures:
        text = f"{reason}; gave up after {streak} failures in a row"
        return replace(base, outcome="failed", reason=text, streak=streak)
    return again(base, reason, streak, now, patience)


def again(
    memory: Supervision, reason: str, streak: int, now: float, patience: Patience = PATIENCE
) -> Supervision:
    """The memory of a module that is to be tried again after the back-off for `streak`."""
    return replace(
        memory,
        restarts=memory.restarts + 1,
        streak=streak,
        retry_at=now + patience.pause_s(streak),
        reason=reason,
        outcome="",
    )


def _exit_reason(exit_code: int | None, oom: bool, module: api.ModuleSpec) -> str:
    if oom:
        return f"killed: out of memory (limit {module.memory_bytes or 'of its host'} bytes)"
    if exit_code is None:
        return "ended, exit status unknown"
    if exit_code > 128:
        return f"killed by signal {exit_code - 128}"
    return f"exited with {exit_code}"


def module_state(digest: str, seen: Seen, memory: Supervision) -> tuple[api.ModuleState, str]:
    """The state that users see of a module, and why it isn't ready (one line, or "").

    Args:
        digest: Of the module as it is wanted.
        seen: What is seen of it.
        memory: What is remembered of it.
    """
    instance = seen.instance
    current = instance is not None and instance.spec_digest == digest
    if seen.artifact_error:
        return "failed", seen.artifact_error
    if memory.outcome == "done" and memory.spec_digest == digest:
        return "done", ""
    if memory.outcome == "failed" and memory.spec_digest == digest:
        return "failed", memory.reason
    if seen.runtime_problem:
        return "pending", seen.runtime_problem
    if instance is not None and current and instance.phase is Phase.RUNNING:
        return ("ready", "") if seen.ready else ("running", "")
    if memory.streak or memory.restarts:
        return "restarting", memory.reason
    if instance is not None and current:
        return "starting", "waits for its network"
    return "pending", "" if seen.artifact else "waits for its image"


def waits_for(ready: api.Ready) -> str:
    """What a running module has to do to be ready, for people."""
    if ready.tcp is not None:
        return f"TCP port {ready.tcp} to accept connections"
    if ready.command is not None:
        return f"`{' '.join(ready.command)}` to exit with 0"
    return "`await mesh.ready()`" if ready.sdk else "its first moment to pass"


def mesh_state(states: list[api.ModuleState], *, converged: bool) -> api.MeshState:
    """The state of a mesh from those of its modules."""
    if "failed" in states:
        return "degraded"
    if converged and all(s in ("ready", "done", "stopped") for s in states):
        return "ready"
    return "converging"
