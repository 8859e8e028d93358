"""Keeps one mesh as desired: decides with reconcile.py, acts with steps.py, decides again.

One task per mesh runs `MeshKeeper.run`. Actions run beside each other, at most one per module.
Must not know: HTTP, other meshes, how a step is done.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace

from net.errors import OtterError
from otter_agent import api, folders, readiness
from otter_agent import reconcile as policy
from otter_agent.build_log import BuildLogFile
from otter_agent.errors import AgentError, ImageError, explained
from otter_agent.machine import Machine
from otter_agent.part import Part
from otter_agent.reconcile import Supervision
from otter_agent.removal import remove_mesh
from otter_agent.runtimes.base import Instance, Phase
from otter_agent.state import DesiredMesh, State
from otter_agent.status import MeshView
from otter_agent.steps import Steps, patient

Emit = Callable[[str, str, str, str, str], None]
"""(mesh, kind, subject, text, state): record an event and wake its watchers."""


class MeshKeeper:
    """One mesh on this machine.

    Args:
        machine: The drivers.
        state: Where desired and supervised state are kept.
        emit: Records events.
        desired: What to keep true; see `desire`.
    """

    def __init__(self, machine: Machine, state: State, emit: Emit, desired: DesiredMesh) -> None:
        self.name = desired.spec.name
        self._machine = machine
        self._patience = machine.config.patience
        self._steps = Steps(machine, self.name)
        self._state = state
        self._emit = emit
        self._desired = desired
        self._wanted = policy.Wanted.of(desired.spec)
        self._wake = asyncio.Event()
        self._parts: dict[str, Part] = {}
        self._memory = state.supervision(self.name)
        self._ground = {"Folders": "", "Network": ""}
        self._busy: set[str] = set()
        self._retry: dict[str, float] = {}
        self._problems: dict[str, str] = {}
        self._settled = 0
        self._applied_at = time.time()
        self._ground_failures = 0
        self._group: asyncio.TaskGroup | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._take_spec()

    # --- what others tell it -----------------------------------------------------------------

    @property
    def desired(self) -> DesiredMesh:
        """What it keeps true."""
        return self._desired

    def desire(self, desired: DesiredMesh) -> None:
        """From now on keep `desired` true."""
        self._desired = desired
        self._wanted = policy.Wanted.of(desired.spec)
        self._take_spec()
        self.wake()

    def wake(self) -> None:
        """Decide again, soon."""
        self._wake.set()

    def saw(self, runtime: str, instance: Instance) -> None:
        """A runtime reported an instance of this mesh."""
        part = self._parts.setdefault(instance.key.module, Part(runtime))
        if part.busy and instance.phase is not Phase.EXITED:
            return  # the action under way returns something newer
        if part.runtime == runtime:
            part.now_is(instance)
        self.wake()

    def saw_all(
        self, runtime: str, instances: dict[str, Instance], asked_at: float
    ) -> list[Instance]:
        """A runtime listed everything it has of this mesh; returns what is nobody's.

        What changed here since it was asked (`asked_at`, monotonic) is newer than its answer.
        """
        strays = []
        for instance in instances.values():
            part = self._parts.get(instance.key.module)
            if part is not None and part.runtime != runtime and not part.busy:
                strays.append(instance)  # its module has moved to another runtime
            elif part is None or part.changed < asked_at:
                self.saw(runtime, instance)
        for name, part in self._parts.items():
            gone = part.runtime == runtime and name not in instances and part.instance is not None
            if gone and not part.busy and part.changed < asked_at:
                part.now_is(None)
        self.wake()
        return strays

    def interrupted(self, runtime: str) -> None:
        """The engine went away: exits of the last moments were its doing, so they don't count."""
        now = time.time()
        for module in self._desired.spec.modules:
            memory = self._memory.get(module.name)
            if module.runtime != runtime or memory is None:
                continue
            if memory.exited_at > now - self._patience.interrupted_s and memory.outcome in (
                "done",
                "failed",
            ):
                self._remember(module.name, replace(memory, outcome="", retry_at=0.0, streak=0))
        self.wake()

    def _take_spec(self) -> None:
        for module in self._desired.spec.modules:
            part = self._parts.setdefault(module.name, Part(module.runtime))
            if part.instance is None and not part.busy:
                part.runtime, part.host = module.runtime, module.host
            digest = self._wanted.digests[module.name]
            if part.artifact_of != digest:
                part.artifact, part.artifact_error, part.error_tail = None, "", ()
                part.artifact_of = digest
            memory = self._memory.get(module.name)
            if memory is None or memory.spec_digest != digest:
                self._remember(module.name, Supervision(spec_digest=digest))

    def retry_failed(self) -> None:
        """A new apply is a new try for what had failed."""
        self._applied_at = time.time()
        self._ground_failures = 0
        for module in self._desired.spec.modules:
            memory, part = self._memory[module.name], self._parts[module.name]
            if part.artifact_error or part.overdue or memory.outcome == "failed" or self._problems:
                self._settled = 0
            if memory.outcome == "failed":
                part.artifact = None  # it may have been removed: look for it again
            part.artifact_error, part.error_tail, part.overdue = "", (), ""
            part.retry_at = 0.0
            if memory.outcome == "failed":
                fresh = Supervision(spec_digest=memory.spec_digest, artifact=memory.artifact)
                self._remember(module.name, fresh)
        self.wake()

    # --- the loop ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Work until the mesh has been destroyed (then return) or until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            while not self._desired.destroying:
                self._wake.clear()
                decision = policy.reconcile(
                    self._wanted, self._observed(), self._memory, time.time()
                )
                for action in decision.actions:
                    self._begin(action)
                self._publish(idle=not decision.actions)
                if decision.actions:
                    await asyncio.sleep(0)  # let short actions finish before looking again
                await self._rest(decision.wake_at)
            for task in self._tasks:
                task.cancel()  # builds and probes; steps end by themselves, or they would go on
        await self._destroy()

    async def _rest(self, wake_at: float | None) -> None:
        wait = None if wake_at is None else max(0.0, wake_at - time.time())
        try:
            async with asyncio.timeout(wait):
                await self._wake.wait()
        except TimeoutError:
            return

    def _observed(self) -> policy.Observed:
        return policy.Observed(
            folders=self._ground["Folders"],
            network=self._ground["Network"],
            modules={name: self._seen(part) for name, part in self._parts.items()},
            busy=frozenset(self._busy),
            retry_at=dict(self._retry),
        )

    def _seen(self, part: Part) -> policy.Seen:
        return part.seen(self._runtime_problem(part.runtime))

    def _runtime_problem(self, runtime: str) -> str:
        problem = self._machine.problem_of(runtime)
        return f"runtime {runtime}: {problem}" if problem else ""

    def _spawn(self, work: Coroutine[None, None, None], name: str, *, ends_with_mesh: bool) -> None:
        assert self._group is not None
        task = self._group.create_task(work, name=f"{self.name}: {name}")
        if ends_with_mesh:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _begin(self, action: policy.Action) -> None:
        if action.module:
            self._parts[action.module].busy = True
        else:
            self._busy.add(type(action).__name__)
        self._spawn(
            self._perform(action),
            f"{type(action).__name__} {action.module}",
            ends_with_mesh=isinstance(action, policy.Prepare),
        )

    async def _perform(self, action: policy.Action) -> None:
        wanted = self._wanted
        try:
            if action.module:
                await self._on_module(wanted, action)
            else:
                await self._on_ground(wanted, action)
        finally:
            if action.module in self._parts:
                self._parts[action.module].busy = False
            else:
                self._busy.discard(type(action).__name__)
            self.wake()

    async def _on_ground(self, wanted: policy.Wanted, action: policy.Action) -> None:
        name = type(action).__name__
        spec = wanted.spec
        try:
            if isinstance(action, policy.Folders):
                hosts = {p.host for p in self._parts.values() if p.instance is not None}
                await self._steps.make_folders(spec, hosts)
                self._ground[name] = wanted.folders
            else:
                await self._steps.make_network(spec)
                self._ground[name] = wanted.network
                self._emit(self.name, "network", self.name, "network is up", "")
        except Exception as caught:  # noqa: BLE001 - as above
            error = explained(caught)
            self._retry[name] = time.time() + self._patience.ground_s
            self._ground_failures += 1
            if self._problems.get(name) != str(error):
                self._emit(self.name, "network", self.name, str(error), "failed")
            self._problems[name] = str(error)
        else:
            self._problems.pop(name, None)
            self._retry.pop(name, None)

    async def _on_module(self, wanted: policy.Wanted, action: policy.Action) -> None:
        name = action.module
        part = self._parts[name]
        module = wanted.modules.get(name)
        try:
            if isinstance(action, policy.Prepare) and module is not None:
                await self._prepare(module, part)
                return
            op = type(action).__name__.lower()
            async with patient(part.runtime, op, self._steps.key(name), self._patience.step_s):
                if isinstance(action, policy.Remove):
                    await self._remove(name, part, module)
                elif module is not None:
                    await self._step(wanted.spec, module, part, action)
        except Exception as error:  # noqa: BLE001 - a spec must not end the agent, again and again
            if wanted.digests.get(name) == self._wanted.digests.get(name):
                self._failed(name, part, action, explained(error))
            await self._look_again(name, part)

    async def _look_again(self, name: str, part: Part) -> None:
        """After a failure: what is there may not be what was thought (removed by somebody else)."""
        driver = self._machine.runtimes.get(part.runtime)
        if driver is None:
            return
        with contextlib.suppress(OtterError, TimeoutError):  # the engine is away: looked at later
            async with asyncio.timeout(self._patience.step_s):
                found = {i.key: i for i in await driver.list()}
            part.now_is(found.get(self._steps.key(name)))

    async def _step(
        self, spec: api.MeshSpec, module: api.ModuleSpec, part: Part, action: policy.Action
    ) -> None:
        name = module.name
        if isinstance(action, policy.Create):
            assert part.artifact is not None
            self._remember(name, replace(self._memory[name], artifact=part.artifact.digest))
            part.now_is(await self._steps.create(module, part.artifact))
            part.budget = policy.budget_of(module)
            part.host = module.host
        elif isinstance(action, policy.Start):
            self._remember(name, replace(self._memory[name], armed=True, started_at=time.time()))
            part.now_is(await self._steps.start(module))
        elif isinstance(action, policy.Connect):
            assert part.instance is not None
            memory = self._memory[name]
            if not memory.armed:  # started by somebody else, or adopted
                self._remember(name, replace(memory, armed=True, started_at=time.time()))
            part.now_is(await self._steps.connect(spec, module, part.instance))
            part.connected = part.instance is not None and part.instance.phase is Phase.RUNNING
            self._probe(module, part)
        elif isinstance(action, policy.Update):
            budget = policy.budget_of(module)
            await self._steps.update(module, budget)
            part.budget = budget
        elif isinstance(action, policy.Account):
            await self._account(module, part)

    async def _prepare(self, module: api.ModuleSpec, part: Part) -> None:
        path = self._machine.layout.module(self.name, module.name).build_log

        loop = asyncio.get_running_loop()

        def progress(line: str) -> None:  # builds log from threads of theirs as well
            loop.call_soon_threadsafe(self._emit, self.name, "image", module.name, line, "")

        asked_for = part.artifact_of
        with BuildLogFile(path, progress) as log:
            artifact = await self._steps.prepare(module, log)
        if part.artifact_of == asked_for:
            part.artifact = artifact

    async def _account(self, module: api.ModuleSpec, part: Part) -> None:
        instance = part.instance
        assert instance is not None
        before = self._memory[module.name]
        memory = policy.account(
            module,
            before,
            instance.exit_code,
            time.time(),
            oom=instance.oom_killed,
            patience=self._patience,
        )
        if memory.outcome != "done" and memory.reason:
            memory = replace(memory, log_tail=await self._steps.tail(module))
        if self._memory.get(module.name) is not before:
            return  # another spec is wanted by now: its memory isn't about this exit
        self._remember(module.name, memory)

    async def _remove(self, name: str, part: Part, module: api.ModuleSpec | None) -> None:
        await self._steps.remove(name, part.runtime, part.host)
        part.now_is(None)
        part.budget = None
        if module is None:
            await asyncio.to_thread(folders.remove, self._machine.layout, self.name, name)
            self._emit(self.name, "module", name, "removed", "removed")
            self._remember(name, None)
            del self._parts[name]
            self._ground["Folders"] = ""  # it may be wanted again by now
            self._take_spec()
        else:
            part.runtime, part.host = module.runtime, module.host

    def _failed(self, name: str, part: Part, action: policy.Action, error: OtterError) -> None:
        """An action didn't work: say so, and try again later where that may help."""
        self._emit(self.name, "module", name, str(error), "")
        memory = self._memory.get(name)
        if isinstance(action, policy.Prepare):
            part.artifact_error = str(error)
            part.error_tail = error.tail if isinstance(error, ImageError) else ()
        elif isinstance(action, policy.Update):
            part.overdue = str(error)  # it lives on, with the limits that it had
            part.retry_at = time.time() + self._patience.backoff_max_s
        elif memory is not None and not isinstance(action, policy.Remove):
            if isinstance(action, policy.Connect):
                self._ground["Network"] = ""  # look at it again: it may be what is broken
            elif not isinstance(action, policy.Account):
                part.artifact = None  # it may have been removed: look for it again
            streak = memory.streak + 1
            failed = policy.again(
                replace(memory, armed=False), str(error), streak, time.time(), self._patience
            )
            if streak >= self._patience.failures or isinstance(error, AgentError):
                failed = replace(failed, outcome="failed", restarts=memory.restarts)
            self._remember(name, failed)
            part.retry_at = failed.retry_at
        else:
            part.retry_at = time.time() + self._patience.ground_s

    def _remember(self, module: str, memory: Supervision | None) -> None:
        if memory is None:
            self._memory.pop(module, None)
        else:
            self._memory[module] = memory
        self._state.put_supervision(self.name, module, memory)

    # --- readiness ---------------------------------------------------------------------------

    def _probe(self, module: api.ModuleSpec, part: Part) -> None:
        if part.ready or part.probing or not part.connected or self._group is None:
            return
        part.probing = True
        self._spawn(self._until_ready(module, part), f"probe {module.name}", ends_with_mesh=True)

    async def _until_ready(self, module: api.ModuleSpec, part: Part) -> None:
        life, ready = part.instance, module.ready
        memory = self._memory[module.name]

        def same() -> bool:
            now = self._wanted.modules.get(module.name)
            return part.instance == life and now is not None and now.ready == ready

        def late(trouble: str) -> None:
            waits = f"waits for {policy.waits_for(ready)}"
            part.overdue = f"not ready after {ready.within_s:g} s: {trouble or waits}"
            self.wake()

        try:
            probe = readiness.probe_of(self._machine, self.name, module)
            if probe is None:  # nothing to ask: ready is who lives on for a moment
                await asyncio.sleep(self._patience.moment_of(memory))
                yes = same()
            else:
                left = max(memory.started_at, self._applied_at) + ready.within_s - time.time()
                yes = await readiness.ask(probe, left, same, late)
            if yes and part.connected:
                part.ready, part.overdue = True, ""
        finally:
            part.probing = False
            self.wake()

    # --- what it tells others ----------------------------------------------------------------

    def state_of(self, module: api.ModuleSpec) -> tuple[api.ModuleState, str]:
        """A module's state and why it isn't ready."""
        part = self._parts[module.name]
        memory = self._memory.get(module.name, Supervision())
        digest = self._wanted.digests[module.name]
        state, reason = policy.module_state(digest, self._seen(part), memory)
        if state in ("running", "ready") and part.overdue:
            return state, part.overdue
        return state, reason or (
            f"waits for {policy.waits_for(module.ready)}" if state == "running" else ""
        )

    def _publish(self, *, idle: bool) -> None:
        """Tell watchers what changed, and when the mesh as a whole has settled."""
        spec = self._desired.spec
        hopeless = self._ground_failures >= self._patience.failures
        settled = idle and not self._busy and (not self._problems or hopeless)
        settled = settled and not any(part.busy for part in self._parts.values())
        for module in spec.modules:
            part = self._parts[module.name]
            self._probe(module, part)
            said = self.state_of(module)
            if said != part.said:
                part.said = said
                self._emit(self.name, "module", module.name, said[1], said[0])
            final = said[0] in ("ready", "done", "failed", "stopped") or bool(part.overdue)
            settled = settled and (final or hopeless)
        if settled and self._settled != self._desired.generation:
            self._settled = self._desired.generation
            self._emit(self.name, "mesh", self.name, f"settled: {self.mesh_state()}", "settled")

    def mesh_state(self) -> api.MeshState:
        """The state of the mesh as a whole."""
        if self._desired.destroying:
            return "destroying"
        states = [self.state_of(m)[0] for m in self._desired.spec.modules]
        if any(p.overdue for p in self._parts.values()) or self._problems:
            return "degraded"
        return policy.mesh_state(states, converged=all(self._ground.values()))

    def view(self) -> MeshView:
        """Everything that `status` shows."""
        return MeshView(
            desired=self._desired,
            settled=self._settled,
            state=self.mesh_state(),
            problem="; ".join(self._problems.values()),
            states={m.name: self.state_of(m) for m in self._desired.spec.modules},
            parts=self._parts,
            memory=self._memory,
        )

    def artifacts(self) -> dict[str, str]:
        """Content id of what each module runs, where it is known."""
        known = {name: memory.artifact for name, memory in self._memory.items() if memory.artifact}
        return known | {n: p.artifact.digest for n, p in self._parts.items() if p.artifact}

    # --- the end -----------------------------------------------------------------------------

    async def _destroy(self) -> None:
        while True:
            said = await remove_mesh(self._steps, self._parts, self._emit, self._patience)
            if not said:
                break
            self._problems["destroy"] = said
            await asyncio.sleep(self._patience.ground_s)
        self._state.forget_mesh(self.name)
        self._emit(self.name, "mesh", self.name, "destroyed", "destroyed")
