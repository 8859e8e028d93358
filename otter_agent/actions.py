"""Does what the policy decided, and writes down what came of it.

One call per action; the keeper holds the tasks. Must not know: when actions are due, HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from dataclasses import replace

from net.errors import OtterError
from otter_agent import api, dev, folders, supervision
from otter_agent import reconcile as policy
from otter_agent.book import Book
from otter_agent.budgets.subjects import Subject
from otter_agent.build_log import BuildLogFile
from otter_agent.errors import AgentError, ImageError, explained
from otter_agent.network import rates
from otter_agent.part import Part
from otter_agent.runtimes.base import Phase, threads_of
from otter_agent.steps import AT_ONCE, STOP_GRACE_S, Steps, patient


class Actions:
    """For one mesh.

    Args:
        book: What is known of it.
        steps: How each step is done.
    """

    def __init__(self, book: Book, steps: Steps) -> None:
        self._book = book
        self._steps = steps
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def perform(self, action: policy.Action) -> None:
        """Do it; failures are written down."""
        wanted = self._book.wanted
        if action.module:
            await self._on_module(wanted, action)
        else:
            await self._on_ground(wanted, action)

    # --- the mesh as a whole -----------------------------------------------------------------

    async def _on_ground(self, wanted: policy.Wanted, action: policy.Action) -> None:
        name, book = type(action).__name__, self._book
        ground = book.ground
        try:
            if isinstance(action, policy.Folders):
                hosts = {p.host for p in book.parts.values() if p.instance is not None}
                await self._steps.make_folders(wanted.spec, hosts, book.budgets)
                ground.done[name] = wanted.folders
                book.talk.folders_are_there()
            elif isinstance(action, policy.Outside):
                await self._steps.open_outside(wanted.spec)
                ground.done[name] = wanted.outside
            elif isinstance(action, policy.Links):
                await self._steps.make_links(book.links)
                await book.links.see_to_cutting()
                ground.done[name] = wanted.links
            else:
                await self._steps.make_network(book.routed(wanted.spec), book.links)
                await book.links.see_to_cutting()
                ground.done["Links"] = wanted.links
                ground.done[name] = wanted.network
                none = wanted.outside == policy.NO_OUTSIDE
                ground.done["Outside"] = wanted.outside if none else ""  # to be looked at anew
                book.tell("network", book.name, "network is up")
                book.talk.network_is_up()
        except Exception as caught:  # noqa: BLE001 - a spec must not end the agent, again and again
            error = str(explained(caught))
            ground.retry[name] = time.time() + book.patience.ground_s
            ground.failures += 1
            if ground.problems.get(name) != error:
                book.tell("network", book.name, error, "failed")
            ground.problems[name] = error
        else:
            if ground.problems.pop(name, None) is not None and name == "Links":
                book.tell("network", book.name, "links are as asked again")
            ground.retry.pop(name, None)

    # --- one module --------------------------------------------------------------------------

    async def _on_module(self, wanted: policy.Wanted, action: policy.Action) -> None:
        name, book = action.module, self._book
        part = book.parts[name]
        module = wanted.modules.get(name)
        try:
            if isinstance(action, policy.Prepare) and module is not None:
                await self._prepare(module, part)
                return
            op = type(action).__name__.lower()
            late = patient(part.runtime, op, self._steps.key(name), book.patience.step_s)
            async with self._slots, late:
                if isinstance(action, policy.Remove):
                    await self._remove(name, part, module)
                elif module is not None:
                    await self._step(wanted.spec, module, part, action)
        except Exception as error:  # noqa: BLE001 - as above
            await self._look_again(name, part)
            if wanted.digests.get(name) == book.wanted.digests.get(name):
                self._failed(name, part, action, explained(error))

    def missed(self, name: str) -> None:
        """A module's instance isn't there any more, and nothing was being done about it."""
        book = self._book
        memory = book.memory.get(name)
        if memory is None or name not in book.wanted.modules or book.desired.destroying:
            return
        if memory.armed or memory.stopped or memory.outcome:
            return  # that it ended is to be accounted for; or nobody wants it to start
        self._vanished(name, book.parts[name], memory)

    async def _look_again(self, name: str, part: Part) -> None:
        """After a failure: what is there may not be what was thought (removed by somebody else)."""
        driver = self._book.machine.runtimes.get(part.runtime)
        if driver is None:
            return
        with contextlib.suppress(OtterError, TimeoutError):  # the engine is away: looked at later
            async with asyncio.timeout(self._book.patience.step_s):
                found = {i.key: i for i in await driver.list()}
            part.now_is(found.get(self._steps.key(name)))

    async def _step(
        self, spec: api.MeshSpec, module: api.ModuleSpec, part: Part, action: policy.Action
    ) -> None:
        if isinstance(action, policy.Create):
            await self._create(module, part)
        elif isinstance(action, policy.Start):
            if part.budget is None or part.budget != self._book.budget_of(module.name):
                await self.limit(module, part)  # what it has is of its last life
            self._arm(module.name)  # a new life: an order to end was about an earlier one
            part.now_is(await self._steps.start(module))
        elif isinstance(action, policy.Connect):
            await self._connect(spec, module, part)
        elif isinstance(action, policy.Halt):
            memory = self._book.memory[module.name]
            self._book.remember(module.name, replace(memory, halting=True, armed=True))
            await self._go_on(module.name, part)
            part.now_is(await self._steps.halt(module))
        elif isinstance(action, policy.Update):
            await self.limit(module, part)
        elif isinstance(action, policy.Account):
            await self._account(module, part)

    async def limit(self, module: api.ModuleSpec, part: Part) -> None:
        """Bring the limits that are asked of a module now into force.

        Raises:
            OtterError: They can't be; it keeps those that it has.
        """
        budget = self._book.budget_of(module.name)
        await self._steps.update(module, budget)
        if part.connected:
            await self._rate(module, part, budget, must=True)
        part.budget = budget
        if part.limits_error:
            part.overdue = "" if part.overdue == part.limits_error else part.overdue
            part.limits_error, part.retry_at = "", 0.0

    async def _rate(
        self, module: api.ModuleSpec, part: Part, budget: api.Budget, *, must: bool
    ) -> None:
        """Limit what it sends and receives; `must`: also where nothing is asked (any more)."""
        if self._book.machine.no_rates and self._book.desired.spec.allow_degraded:
            return
        host = self._book.budgets.of(Subject("host", module.host))
        pid = part.instance.pid if part.instance is not None else None
        if must or rates.of(budget) or rates.of(host):
            await self._steps.rate(module, pid, budget, host)

    async def _go_on(self, name: str, part: Part) -> None:
        """What is held up can't end in its own way."""
        pid = part.instance.pid if part.instance is not None else None
        if self._book.runs.is_paused(name, pid):
            await self._steps.signal(name, part.runtime, signal.SIGCONT)

    async def _prepare(self, module: api.ModuleSpec, part: Part) -> None:
        path = self._book.machine.layout.module(self._book.name, module.name).build_log
        loop = asyncio.get_running_loop()

        def progress(line: str) -> None:  # builds log from threads of theirs as well
            loop.call_soon_threadsafe(self._book.tell, "image", module.name, line)

        asked_for = part.artifact_of
        with BuildLogFile(path, progress) as log:
            artifact = await self._steps.prepare(module, log)
        if part.artifact_of == asked_for:
            part.artifact = artifact

    async def _create(self, module: api.ModuleSpec, part: Part) -> None:
        assert part.artifact is not None
        memory = self._book.memory[module.name]
        self._book.remember(module.name, replace(memory, artifact=part.artifact.digest))
        budget = self._book.budget_of(module.name)
        asked = self._book.budgets.of
        host, own = asked(Subject("host", module.host)), asked(Subject("module", module.name))
        threads = threads_of(own.cpu, host.cpu)
        part.now_is(await self._steps.create(module, part.artifact, budget, threads))
        part.budget = budget
        part.host = module.host

    def _arm(self, name: str) -> None:
        """From now on an exit is to be accounted for."""
        memory = self._book.memory[name]
        fresh = replace(memory, armed=True, halting=False, started_at=time.time())
        self._book.remember(name, fresh)

    async def _connect(self, spec: api.MeshSpec, module: api.ModuleSpec, part: Part) -> None:
        assert part.instance is not None
        if not self._book.memory[module.name].armed:  # started by somebody else, or adopted
            self._arm(module.name)
        cut = self._book.links.needs_cutting
        adopted = part.instance.phase is Phase.RUNNING
        unlimited = ""

        async def limit() -> None:  # before its first packet
            nonlocal unlimited
            try:
                await self._rate(module, part, self._book.budget_of(module.name), must=adopted)
            except OtterError as error:
                if not spec.allow_degraded:
                    raise
                unlimited = str(error)

        part.now_is(await self._steps.connect(spec, module, part.instance, limit, cut=cut))
        if unlimited:
            part.overdue = part.limits_error = unlimited
        part.connected = part.instance is not None and part.instance.phase is Phase.RUNNING

    async def _account(self, module: api.ModuleSpec, part: Part) -> None:
        instance, book = part.instance, self._book
        before = book.memory[module.name]
        oom = ""
        if instance is not None and instance.oom_killed:
            oom = await asyncio.to_thread(book.budgets.memory_text, module.name)
        memory = supervision.account(
            module,
            before,
            instance.exit_code if instance else None,
            time.time(),
            oom=oom,
            gone=instance is None,
            patience=book.patience,
        )
        if memory.outcome != "done" and memory.reason:
            tail = await self._steps.tail(module)
            memory = supervision.hopeless(replace(memory, log_tail=tail), tail)
        if book.memory.get(module.name) is not before:
            return  # another spec is wanted by now, or something was ordered: decided anew
        if instance is None:
            part.artifact = None  # who removed that may have removed its image as well
            book.tell("module", module.name, f"its {module.runtime} instance is gone")
        memory = replace(memory, accounted=instance.life if instance else "")
        book.remember(module.name, memory)
        late = memory.exited_at > book.applied_at + module.ready.within_s
        if not memory.outcome and memory.streak >= book.patience.failures and late:
            part.overdue = f"{memory.reason}; is tried again and again"  # `apply` waits no longer

    async def _remove(self, name: str, part: Part, module: api.ModuleSpec | None) -> None:
        book = self._book
        await self._go_on(name, part)
        await self._steps.remove(name, part.runtime, part.host, dev.grace_s(module, STOP_GRACE_S))
        part.now_is(None)
        part.budget = None
        if module is None:
            await asyncio.to_thread(folders.remove, book.machine.layout, book.name, name)
            book.tell("module", name, "removed", "removed")
            book.remember(name, None)
            del book.parts[name]
            book.ground.done["Folders"] = ""  # it may be wanted again by now
            book.take_spec()
            return
        part.runtime, part.host = module.runtime, module.host
        if book.memory[name].halting:
            book.remember(name, replace(book.memory[name], halting=False))

    # --- failures ----------------------------------------------------------------------------

    def _failed(self, name: str, part: Part, action: policy.Action, error: OtterError) -> None:
        """An action didn't work: say so, and try again later where that may help."""
        book = self._book
        memory = book.memory.get(name)
        if isinstance(action, policy.Start) and part.instance is None and memory is not None:
            self._vanished(name, part, memory)
            return
        book.tell("module", name, str(error))
        if isinstance(action, policy.Prepare):
            part.artifact_error = str(error)
            part.error_tail = error.tail if isinstance(error, ImageError) else ()
        elif isinstance(action, policy.Update):
            # It lives on, with the limits that it had.
            part.overdue = part.limits_error = str(error)
            part.retry_at = time.time() + book.patience.backoff_max_s
        elif memory is None or isinstance(action, policy.Remove | policy.Halt):
            part.retry_at = time.time() + book.patience.ground_s
        else:
            if isinstance(action, policy.Connect):
                book.ground.done["Network"] = ""  # look at it again: it may be what is broken
            elif not isinstance(action, policy.Account):
                part.artifact = None  # it may have been removed: look for it again
            self._count(name, part, memory, error)

    def _vanished(self, name: str, part: Part, memory: supervision.Supervision) -> None:
        """What was to be started is gone. Its exit was accounted for: no failure of its own."""
        self._book.tell("module", name, "was removed from outside: made anew")
        part.artifact = None  # who removed that may have removed its image as well
        self._book.remember(name, replace(memory, armed=False))

    def _count(
        self, name: str, part: Part, memory: supervision.Supervision, error: OtterError
    ) -> None:
        """Another failure in a row."""
        book = self._book
        streak = memory.streak + 1
        failed = supervision.again(
            replace(memory, armed=False), str(error), streak, time.time(), book.patience
        )
        if streak >= book.patience.failures or isinstance(error, AgentError):
            failed = replace(failed, outcome="failed", restarts=memory.restarts)
        book.remember(name, failed)
        part.retry_at = failed.retry_at
