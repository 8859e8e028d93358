"""Keeps one mesh as desired: decides with reconcile.py, acts with actions.py, decides again.

One task per mesh runs `MeshKeeper.run`. Actions run beside each other, at most one per module.
Only what has changed is decided about: a mesh of a thousand modules costs what a small one does.
Must not know: HTTP, other meshes, how a step is done.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Coroutine, Iterable
from signal import SIGCONT

from net.errors import OtterError
from otter_agent import api, supervision
from otter_agent import reconcile as policy
from otter_agent.actions import Actions
from otter_agent.book import Book, Emit
from otter_agent.budgets.book import BudgetBook
from otter_agent.fidelity.watch import Watch
from otter_agent.links.book import LinkBook
from otter_agent.machine import Machine
from otter_agent.part import Part
from otter_agent.prober import Prober
from otter_agent.removal import remove_mesh
from otter_agent.runtimes.base import Instance, Phase
from otter_agent.state import DesiredMesh, State
from otter_agent.states import FINAL
from otter_agent.status import MeshView
from otter_agent.steps import Steps
from otter_agent.timeline.player import Player


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
        self._book = Book(machine, state, emit, desired)
        self._steps = Steps(machine, self.name)
        self._actions = Actions(self._book, self._steps)
        self._prober = Prober(self._book, self._probing)
        self._book.links.remake = self._remake_network
        self._book.links.cut = self._cut
        self._book.player.reroute = self._reroute
        self._book.reroute = self._reroute
        self._book.links.failed = self._try_links_again
        self._book.budgets.limit = self._limit
        self._book.runs.modules = self
        self._wakes: dict[str, float] = {}
        self._unsettled: set[str] = set()
        self._group: asyncio.TaskGroup | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    # --- what others tell it -----------------------------------------------------------------

    @property
    def links(self) -> LinkBook:
        """What is asked of its links, and in force."""
        return self._book.links

    @property
    def budgets(self) -> BudgetBook:
        """What is asked of its hosts and modules, and in force."""
        return self._book.budgets

    @property
    def player(self) -> Player:
        """Plays its timeline."""
        return self._book.player

    @property
    def fidelity(self) -> Watch:
        """Watches whether what carries its links keeps up."""
        return self._book.fidelity

    @property
    def desired(self) -> DesiredMesh:
        """What it keeps true."""
        return self._book.desired

    def desire(self, desired: DesiredMesh) -> None:
        """From now on keep `desired` true."""
        self._book.desire(desired)

    def wake(self) -> None:
        """Decide again about everything, soon."""
        self._book.touch()

    def retry_failed(self) -> None:
        """A new apply is a new try for what had failed, and starts what was stopped."""
        self._book.try_again()

    def order(self, module: str, order: api.Order, by: str) -> None:
        """Start, stop or restart a module; kept until the next order or apply.

        Args:
            module: One of the mesh.
            order: What is asked for.
            by: Who asks; "": unknown.

        Raises:
            AgentError: The disk is full: nothing was changed.
        """
        book, part = self._book, self._book.parts[module]
        before = book.memory[module]
        after = supervision.ordered(before, order, alive=part.alive)
        if order != "stop" and part.artifact_error:
            part.artifact_error, part.error_tail = "", ()
        elif after == before:
            return
        book.remember(module, after, must=True)
        if order != "stop":
            part.retry_at = 0.0
            book.applied_at = time.time()
        book.tell("module", module, f"{order} was asked for" + (f" by {by}" if by else ""))

    def is_stopped(self, module: str) -> bool:
        """Whether somebody has asked for it not to run."""
        memory = self._book.memory.get(module)
        return memory is not None and memory.stopped

    def pid(self, module: str) -> int | None:
        """Of its first process; None: it doesn't run."""
        part = self._book.parts.get(module)
        return part.instance.pid if part and part.instance and part.alive else None

    async def signal(self, module: str, number: int) -> str:
        """Send a signal to all its processes; why that can't be, or ""; one that ended has none."""
        part = self._book.parts.get(module)
        if part is None or not part.alive:
            return ""
        try:
            await self._steps.signal(module, part.runtime, number)
        except OtterError as error:
            return str(error)
        finally:
            self._book.touch(module)
        return ""

    def secrets_came(self, changed: Collection[str]) -> None:
        """The caller sent secrets; `changed` are the modules that ran with another value."""
        if changed or any(part.lacks for part in self._book.parts.values()):
            self._book.settled = 0
        for name in changed:
            if self._book.parts[name].alive:
                self._book.tell("module", name, "a secret has changed: it starts anew")
                self.order(name, "restart", "")
        self._book.look_for_secrets()
        self._book.touch()

    def saw(self, runtime: str, instance: Instance) -> None:
        """A runtime reported an instance of this mesh."""
        name = instance.key.module
        part = self._book.parts.setdefault(name, Part(runtime))
        if part.busy and instance.phase is not Phase.EXITED:
            return  # the action under way returns something newer
        if instance.phase is Phase.EXITED and part.lives_on(instance):
            return  # late word of an earlier life
        if part.runtime == runtime:
            part.now_is(instance)
        self._book.touch(name)

    def saw_all(
        self, runtime: str, instances: dict[str, Instance], asked_at: float
    ) -> list[Instance]:
        """A runtime listed everything it has of this mesh; returns what is nobody's.

        What changed here since it was asked (`asked_at`, monotonic) is newer than its answer.
        """
        strays = []
        parts = self._book.parts
        for instance in instances.values():
            part = parts.get(instance.key.module)
            if part is not None and part.runtime != runtime and not part.busy:
                strays.append(instance)  # its module has moved to another runtime
            elif part is None or part.changed < asked_at:
                self.saw(runtime, instance)
        for name, part in parts.items():
            gone = part.runtime == runtime and name not in instances and part.instance is not None
            if gone and not part.busy and part.changed < asked_at:
                part.now_is(None)
                self._actions.missed(name)
        self.wake()
        return strays

    def interrupted(self, runtime: str) -> None:
        """The engine went away: exits of the last moments were its doing, so they don't count."""
        self._book.excuse(runtime)

    def lost_outside(self) -> None:
        """Its gateways and published ports were closed by somebody else."""
        self._book.ground.done["Outside"] = ""
        self._book.tell("network", self.name, "the way to the outside is gone: opening it anew")
        self._book.touch()

    def lost_tunnels(self) -> None:
        """What carries its links to other machines was ended by somebody else."""
        self._book.ground.done["Network"] = ""
        text = "what carries links to other machines ended: starting it anew"
        self._book.tell("network", self.name, text)
        self._book.touch()

    # --- the loop ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Work until the mesh has been destroyed (then return) or until cancelled."""
        book = self._book
        book.touch()
        async with asyncio.TaskGroup() as group:
            self._group = group
            self._spawn(book.links.run(), "leases of links", ends_with_mesh=True)
            self._spawn(book.budgets.run(), "leases of budgets", ends_with_mesh=True)
            self._spawn(book.routing.run(), "routing", ends_with_mesh=True)
            self._spawn(book.watch.run(), "conditions", ends_with_mesh=True)
            self._spawn(book.talk.run(), "talk", ends_with_mesh=True)
            await book.player.begin()
            self._spawn(book.player.run(), "timeline", ends_with_mesh=True)
            self._spawn(book.fidelity.run(), "fidelity", ends_with_mesh=True)
            while not book.desired.destroying:
                book.news.clear()
                names = self._due(time.time())
                busy = self._decide(names)
                self._tell(names, idle=not busy)
                if busy:
                    await asyncio.sleep(0)  # let short actions finish before looking again
                await self._rest()
            for task in self._tasks:
                task.cancel()  # builds and probes; steps end by themselves, or they would go on
        await self._destroy()

    def _due(self, now: float) -> set[str]:
        """Modules to decide about: those that were touched, and those whose time has come."""
        due = {name for name, moment in self._wakes.items() if moment <= now}
        looked_for = self._book.touched | due
        names = looked_for & self._book.parts.keys()
        self._unsettled -= looked_for - names  # they are gone
        self._book.touched.clear()
        for name in (*names, ""):
            self._wakes.pop(name, None)
        return names

    def _decide(self, names: set[str]) -> bool:
        """Begin what is to be done now; returns whether that is anything."""
        book = self._book
        decision = policy.reconcile(
            book.wanted, book.observed(names), book.memory, time.time(), names
        )
        for action in decision.actions:
            self._begin(action)
        self._wakes |= decision.wakes
        return bool(decision.actions)

    async def _rest(self) -> None:
        wake_at = min(self._wakes.values(), default=None)
        wait = None if wake_at is None else max(0.0, wake_at - time.time())
        try:
            async with asyncio.timeout(wait):
                await self._book.news.wait()
        except TimeoutError:
            return

    def _spawn(self, work: Coroutine[None, None, None], name: str, *, ends_with_mesh: bool) -> None:
        assert self._group is not None
        task = self._group.create_task(work, name=f"{self.name}: {name}")
        if ends_with_mesh:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _probing(self, work: Coroutine[None, None, None], name: str) -> None:
        self._spawn(work, name, ends_with_mesh=True)

    def _begin(self, action: policy.Action) -> None:
        if action.module:
            self._book.parts[action.module].busy = True
        else:
            self._book.ground.busy.add(type(action).__name__)
        self._spawn(
            self._perform(action),
            f"{type(action).__name__} {action.module}",
            ends_with_mesh=isinstance(action, policy.Prepare),
        )

    async def _perform(self, action: policy.Action) -> None:
        book = self._book
        try:
            await self._actions.perform(action)
        finally:
            if not action.module:
                book.ground.busy.discard(type(action).__name__)
                book.touch()  # all modules stand on it
            else:
                if action.module in book.parts:
                    book.parts[action.module].busy = False
                book.touch(action.module)

    async def _remake_network(self) -> None:
        """Links need other devices than they have: everything that runs keeps running."""
        book = self._book
        await self._steps.make_network(book.routed(book.desired.spec), book.links)

    async def _reroute(self, hosts: Collection[str]) -> None:
        """Hosts have moved; a network that isn't there yet is made with the routes of then."""
        book = self._book
        if book.ground.done.get("Network"):
            await self._steps.reroute(book.routed(book.desired.spec), hosts)

    async def _limit(self, name: str) -> str:
        """Bring new limits of a module that runs into force; one that starts gets them then."""
        book = self._book
        part, module = book.parts.get(name), book.wanted.modules.get(name)
        if part is None or module is None or part.busy or not (part.alive and part.connected):
            book.touch(name)
            return ""
        part.busy = True
        try:
            await self._actions.limit(module, part)
        except OtterError as error:
            return str(error)
        finally:
            part.busy = False
            book.touch(name)
        return ""

    def _try_links_again(self) -> None:
        """Some aren't as asked: that is looked at again, and is the mesh's problem until then."""
        self._book.ground.done["Links"] = ""
        self._book.touch()

    async def _cut(self, shaped: bool) -> None:
        """Whoever sends into the mesh is to hand over packets that are cut, or need not."""
        book = self._book
        alive = {name: part.instance for name, part in book.parts.items() if part.alive}
        pids = {name: i.pid for name, i in alive.items() if i is not None and i.pid is not None}
        for problem in await self._steps.cut(book.desired.spec, pids, shaped=shaped):
            book.tell("network", self.name, problem)

    # --- what it tells others ----------------------------------------------------------------

    def _tell(self, names: Iterable[str], *, idle: bool) -> None:
        """Tell watchers what changed, and when the mesh as a whole has settled."""
        book = self._book
        hopeless = book.ground.failures >= book.patience.failures
        for name in names:
            part, module = book.parts[name], book.wanted.modules.get(name)
            final = False
            if module is not None:
                self._prober.look_at(module)
                said = book.state_of(module)
                if said != part.said:
                    part.said = said
                    book.tell("module", name, said[1], said[0])
                final = said[0] in FINAL or bool(part.overdue) or hopeless
            if final and not part.busy:
                self._unsettled.discard(name)
            else:
                self._unsettled.add(name)
        quiet = idle and not book.ground.busy and not self._unsettled
        if quiet and (hopeless or not book.ground.problems):
            self._settle()
            # Else who applied sets the epoch, everywhere the same.
            alone = book.desired.spec.is_whole
            if alone and book.player.waits and book.mesh_state() == "ready":
                book.player.all_ready()

    def _settle(self) -> None:
        book = self._book
        if book.settled != book.desired.generation:
            book.settled = book.desired.generation
            book.tell("mesh", self.name, f"settled: {book.mesh_state()}", "settled")

    def view(self) -> MeshView:
        """Everything that `status` shows."""
        return self._book.view()

    def artifacts(self) -> dict[str, str]:
        """Content id of what each module runs, where it is known."""
        return self._book.artifacts()

    # --- the end -----------------------------------------------------------------------------

    async def _destroy(self) -> None:
        book = self._book
        for name in book.runs.paused():
            await self.signal(name, SIGCONT)  # what is held up can't end in its own way
        while True:
            said = await remove_mesh(self._steps, book.parts, book.links, book.tell, book.patience)
            if not said:
                break
            book.ground.problems["destroy"] = said
            await asyncio.sleep(book.patience.ground_s)
        book.forget()
        book.tell("mesh", self.name, "destroyed", "destroyed")
