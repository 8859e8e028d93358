"""Everything an agent knows of one mesh, and what follows from it for those who ask.

The keeper and its helpers write here; nothing is decided or done. Must not know: how anything is
done, HTTP, other meshes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from otter_agent import api, states, storage
from otter_agent.budgets.book import BudgetBook
from otter_agent.budgets.subjects import Subject
from otter_agent.fidelity.watch import Watch as FidelityWatch
from otter_agent.links.book import LinkBook
from otter_agent.links.ways import Way
from otter_agent.machine import Machine
from otter_agent.network import names, rates
from otter_agent.part import Part
from otter_agent.reconcile import Observed, Seen, Wanted
from otter_agent.routing import Down, Routing
from otter_agent.secrets import Secrets
from otter_agent.senses import MeshSenses
from otter_agent.state import DesiredMesh, State
from otter_agent.status import MeshView
from otter_agent.supervision import Supervision
from otter_agent.talk.datagrams import News
from otter_agent.talk.talk import Talk
from otter_agent.timeline import moves
from otter_agent.timeline.around import Around
from otter_agent.timeline.player import Player
from otter_agent.timeline.runs import Runs
from otter_agent.timeline.watch import Watch
from otter_agent.timeline.workers import Workers


class Emit(Protocol):
    """Records an event and wakes its watchers."""

    def __call__(
        self,
        mesh: str,
        kind: str,
        subject: str,
        text: str,
        state: str,
        data: dict[str, Any] | None = None,
    ) -> None:
        """Record it."""
        ...


@dataclass(slots=True)
class Ground:
    """What all modules stand on: folders and network.

    Attributes:
        done: Action -> digest of the spec for which it was last done.
        busy: Actions under way.
        retry: Action -> not before this moment: it failed before.
        problems: Action -> why it failed last.
        failures: Since the last apply.
    """

    done: dict[str, str] = field(
        default_factory=lambda: {"Folders": "", "Network": "", "Links": "", "Outside": ""}
    )
    busy: set[str] = field(default_factory=set)
    retry: dict[str, float] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    failures: int = 0


class Book:
    """One mesh.

    Args:
        machine: The drivers, asked for their problems only.
        state: Where what is remembered is kept.
        emit: Records events.
        desired: What is to be true.

    Attributes:
        settled: The generation that was reached last.
        applied_at: When it was last applied (unix seconds).
        touched: Modules of which something has changed since they were last decided about.
        news: Set when something has.
        links: What is asked of its links, and in force.
        budgets: What is asked of its hosts and modules now.
        routing: Follows links that go down and up.
        reroute: Installs the routes of hosts.
        runs: Which of its modules the timeline has stopped or paused.
        player: Plays its timeline.
        watch: Looks whether what events wait for has become so.
        talk: Talks to the agents of the mesh's other machines.
        fidelity: Watches whether what carries its links keeps up.
    """

    def __init__(self, machine: Machine, state: State, emit: Emit, desired: DesiredMesh) -> None:
        self.name = desired.spec.name
        self.machine = machine
        self.patience = machine.config.patience
        self.desired = desired
        self.wanted = Wanted.of(desired.spec)
        self.parts: dict[str, Part] = {}
        self.memory = state.supervision(self.name)
        self.ground = Ground()
        self.settled = 0
        self.applied_at = time.time()
        self.touched: set[str] = set()
        self.news = asyncio.Event()
        self._state = state
        self._emit = emit
        choice = machine.links_of(desired.spec)
        self.links = LinkBook(choice, machine.agent_id, desired.spec, state, self.tell)
        self.budgets = BudgetBook(
            machine.cgroups,
            desired.spec,
            state,
            self.tell,
            worth=machine.worth,
            no_disks=lambda: machine.no_disks,
            rates=self._rates,
            lacks_rates=machine.no_rates,
            stays=lambda module, share: machine.grants.stays(self.name, module, share),
            space=lambda module: storage.held(machine.layout.module(self.name, module)),
        )
        self.budgets.turns = lambda module: machine.leases.weight(f"{desired.spec.name}/{module}")
        self.routing = Routing(
            lambda: self.desired.spec, self._down, self.links.settle, self.tell, self._reroute
        )
        self.links.turned = self._turned
        self.reroute: Callable[[Collection[str]], Awaitable[None]] | None = None
        self.runs = Runs(self.name, state)
        self.runs.forget(self.wanted.modules)
        self.player = Player(desired.spec, self._around_player(machine, state))
        self.watch = Watch(
            desired.spec, self._senses(machine), state, self.tell, self.player.position
        )
        self.watch.changed = self._fired
        self.talk = Talk(
            machine.network, machine.layout, desired.spec, self._news_of_here, self.tell
        )
        self.talk.heard = self._heard
        self.player.fired = lambda: self.watch.fired
        self.player.conditions = self.watch.statuses
        self.player.began_again = self.watch.begin_again
        file = machine.layout.fidelity(self.name)
        begun = lambda: not self.player.waits  # noqa: E731
        self.fidelity = FidelityWatch(
            self.links, self.tell, file, desired.spec.run, begun, self.player.record.punctuality
        )
        self.take_spec()

    # --- what machines tell each other -------------------------------------------------------

    def _news_of_here(self) -> News:
        follows = self.desired.spec.routing == "shortest"
        down = sorted((w.link, w.source, w.target) for w in self._down()) if follows else ()
        return News(position_s=self.player.position(), fired=self.watch.news(), down=tuple(down))

    def _heard(self, machine: str, news: News) -> None:
        self.watch.hear(news.fired, news.position_s)
        self.routing.hear(machine, frozenset(Way(*way) for way in news.down))

    def _fired(self) -> None:
        self.player.look_again()
        self.talk.poke()

    def _turned(self) -> None:
        self.routing.turned()
        self.talk.poke()

    def _rates(self, subject: Subject) -> tuple[float | None, float | None]:
        """What a host or a module may receive and send, read back."""
        agent_id = self.machine.agent_id
        if subject.kind == "host":
            router = names.namespace(agent_id, self.name, subject.name)
            found = rates.read_host(router, f"{self.name}/{subject.name}")
        else:
            part, module = self.parts.get(subject.name), self.wanted.modules.get(subject.name)
            pid = part.instance.pid if part is not None and part.instance is not None else None
            if pid is None or module is None or module.runtime == "fake":
                return None, None
            found = rates.plugged(agent_id, self.name, module, pid).read()
        return found.in_bps, found.out_bps

    def _around_player(self, machine: Machine, state: State) -> Around:
        blobs = machine.layout.blobs
        return Around(
            links=self.links,
            workers=Workers(self.budgets, self.runs),
            keep=state,
            read=lambda digest: (blobs / digest).read_bytes(),
            tell=self.tell,
            file=machine.layout.timeline(self.name),
        )

    def _senses(self, machine: Machine) -> MeshSenses:
        return MeshSenses(
            self.name,
            lambda: self.desired.spec,
            self,
            self.links,
            machine.layout,
            machine.cgroups,
        )

    # --- writing -----------------------------------------------------------------------------

    def tell(
        self,
        kind: str,
        subject: str,
        text: str,
        state: str = "",
        data: dict[str, Any] | None = None,
    ) -> None:
        """Record an event."""
        self._emit(self.name, kind, subject, text, state, data)

    def touch(self, module: str | None = None) -> None:
        """Something about a module (None: about all) has changed: it is to be decided about."""
        if module is None:
            self.touched.update(self.parts)
        else:
            self.touched.add(module)
        self.news.set()

    def routed(self, spec: api.MeshSpec) -> api.MeshSpec:
        """With the routes of now, where hosts have moved."""
        return moves.routed(self.routing.routed(spec), self.player.places)

    def _down(self) -> Down:
        """The directions of links that are to be down."""
        links = self.links
        return frozenset(way for way in links.all() if links.asked(way).up is False)

    async def _reroute(self, hosts: Collection[str]) -> None:
        if self.reroute is not None:
            await self.reroute(hosts)

    def desire(self, desired: DesiredMesh) -> None:
        """Another thing is to be true from now on."""
        if desired.spec is not self.desired.spec:
            self.wanted = Wanted.of(desired.spec)
            self.links.take(desired.spec, self.machine.links_of(desired.spec))
            self.budgets.take(desired.spec)
            self.player.take(desired.spec)
            self.watch.take(desired.spec)
            self.talk.take(desired.spec)
            self.runs.forget(self.wanted.modules)
            self.fidelity.take(desired.spec.run)
        self.desired = desired
        self.take_spec()
        self.touch()

    def take_spec(self) -> None:
        """Make room for what the spec names; forget what was about another spec."""
        for module in self.desired.spec.modules:
            part = self.parts.setdefault(module.name, Part(module.runtime))
            if part.instance is None and not part.busy:
                part.runtime, part.host = module.runtime, module.host
            digest = self.wanted.digests[module.name]
            if part.artifact_of != digest:
                part.artifact, part.artifact_error, part.error_tail = None, "", ()
                part.artifact_of = digest
            memory = self.memory.get(module.name)
            if memory is None or memory.spec_digest != digest:
                self.remember(module.name, Supervision(spec_digest=digest))
        self.look_for_secrets()

    def look_for_secrets(self) -> None:
        """They are kept in memory only: after a reboot a module waits until they are sent again."""
        secrets = Secrets(self.machine.layout)
        for module in self.desired.spec.modules:
            missing = secrets.missing(self.name, module)
            text = f"waits for its secret {', '.join(missing)}: apply again to send it"
            self.parts[module.name].lacks = text if missing else ""

    def remember(self, module: str, memory: Supervision | None, *, must: bool = False) -> None:
        """Keep what is known of a module across the agent's restarts; None: forget it.

        Raises:
            AgentError: The disk is full, and it `must` be kept; nothing was changed.
        """
        if must:
            self._state.put_supervision(self.name, module, memory, must=True)
        if memory is None:
            self.memory.pop(module, None)
        else:
            self.memory[module] = memory
        if not must:
            self._state.put_supervision(self.name, module, memory)
        self.touch(module)

    def forget(self) -> None:
        """The mesh is gone.

        Raises:
            AgentError: The disk is full even for that.
        """
        self._state.forget_mesh(self.name)

    def try_again(self) -> None:
        """A new apply is a new try for what had failed, and starts what was stopped."""
        self.applied_at = time.time()
        self.ground.failures = 0
        for module in self.desired.spec.modules:
            memory, part = self.memory[module.name], self.parts[module.name]
            over = memory.outcome == "failed" or memory.stopped
            if part.artifact_error or part.overdue or over or self.ground.problems:
                self.settled = 0
            if over:
                part.artifact = None  # it may have been removed: look for it again
            if memory.stopped:
                self.remember(module.name, replace(memory, stopped=False))
            elif memory.outcome == "failed":
                fresh = Supervision(spec_digest=memory.spec_digest, artifact=memory.artifact)
                self.remember(module.name, fresh)
            part.artifact_error, part.error_tail, part.overdue = "", (), ""
            part.retry_at = 0.0
        self.touch()

    # --- asking ------------------------------------------------------------------------------

    def observed(self, modules: Collection[str]) -> Observed:
        """What the policy has to see to decide about some modules."""
        return Observed(
            folders=self.ground.done["Folders"],
            network=self.ground.done["Network"],
            links=self.ground.done["Links"],
            outside=self.ground.done["Outside"],
            modules={name: self._observed(name) for name in modules},
            busy=frozenset(self.ground.busy),
            retry_at=dict(self.ground.retry),
        )

    def budget_of(self, module: str) -> api.Budget:
        """The limits that a module is to have now, in this machine's cores."""
        return self.budgets.granted(Subject("module", module))

    def _observed(self, name: str) -> Seen:
        wants = self.budget_of(name) if name in self.wanted.modules else None
        return self.seen(self.parts[name], wants)

    def seen(self, part: Part, wants: api.Budget | None = None) -> Seen:
        """One module, as the policy sees it."""
        problem = self.machine.problem_of(part.runtime)
        lacks = "" if part.alive else part.lacks
        return part.seen(f"runtime {part.runtime}: {problem}" if problem else lacks, wants)

    def state_of(self, module: api.ModuleSpec) -> tuple[api.ModuleState, str]:
        """A module's state and why it isn't ready; what doesn't change from second to second."""
        part = self.parts[module.name]
        memory = self.memory.get(module.name, Supervision())
        digest = self.wanted.digests[module.name]
        state, reason = states.module_state(digest, self.seen(part), memory)
        if state in ("running", "ready") and part.overdue:
            return state, part.overdue
        if self.runs.is_paused(module.name, part.instance.pid if part.instance else None):
            return state, "paused by the timeline"
        if state == "running" and not reason:
            reason = f"waits for {states.waits_for(module.ready)}"
        return state, reason

    def state(self, module: str) -> api.ModuleState:
        """Of a module of the topology, by its name. Raises `KeyError`."""
        return self.state_of(self.wanted.modules[module])[0]

    def restarts(self, module: str) -> int:
        """How often it was started again. Raises `KeyError`."""
        return self.memory[module].restarts

    def status_of(self, module: api.ModuleSpec) -> tuple[api.ModuleState, str]:
        """`state_of`, with what went wrong when it was last asked whether it is ready."""
        state, reason = self.state_of(module)
        if state == "running" and not self.parts[module.name].overdue:
            return state, reason + self.trouble_of(module)
        return state, reason

    def trouble_of(self, module: api.ModuleSpec) -> str:
        """What a module that isn't ready yet may be waiting for, in brackets; "" if unknown."""
        part = self.parts[module.name]
        words = [part.trouble] if part.trouble else []
        if module.ready.sdk:
            words += self._peers(module)
        return f" ({'; '.join(words)})" if words else ""

    def _peers(self, module: api.ModuleSpec) -> list[str]:
        """The other ends of its streams that aren't up, as far as this machine knows."""
        found = []
        for name in dict.fromkeys(e.peer for e in (*module.streams_in, *module.streams_out)):
            peer = self.wanted.modules.get(name)
            if peer is None:
                continue
            state, _ = self.state_of(peer)
            if state != "ready":
                found.append(f"stream peer {name} is {state}")
        return found

    def mesh_state(self) -> api.MeshState:
        """The state of the mesh as a whole."""
        if self.desired.destroying:
            return "destroying"
        if self.ground.problems or any(p.overdue for p in self.parts.values()):
            return "degraded"
        found = [self.state_of(m)[0] for m in self.desired.spec.modules]
        return states.mesh_state(found, converged=all(self.ground.done.values()))

    def view(self) -> MeshView:
        """Everything that `status` shows."""
        return MeshView(
            desired=self.desired,
            settled=self.settled,
            state=self.mesh_state(),
            problem="; ".join(self.ground.problems.values()),
            states={m.name: self.status_of(m) for m in self.desired.spec.modules},
            parts=self.parts,
            memory=self.memory,
            links=self.links,
            budgets=self.budgets,
            fidelity=self.fidelity.verdict,
            timeline=self.player.state,
        )

    def artifacts(self) -> dict[str, str]:
        """Content id of what each module runs, where it is known."""
        known = {name: memory.artifact for name, memory in self.memory.items() if memory.artifact}
        return known | {n: p.artifact.digest for n, p in self.parts.items() if p.artifact}

    def excuse(self, runtime: str) -> None:
        """A runtime's engine went away: exits of the last moments were its doing: don't count."""
        since = time.time() - self.patience.interrupted_s
        for module in self.desired.spec.modules:
            memory = self.memory.get(module.name)
            if module.runtime != runtime or memory is None:
                continue
            if memory.exited_at > since and memory.outcome in ("done", "failed"):
                self.remember(module.name, replace(memory, outcome="", retry_at=0.0, streak=0))
        self.touch()
