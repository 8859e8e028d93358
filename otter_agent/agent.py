"""One machine's agent: owns all tasks, wires state, keepers and drivers together.

Must not know: HTTP (server/ calls it), how a mesh is kept (keeper.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import (
    AsyncIterator,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from typing import Any

from otter_agent import api, dev, lost_helpers, mounts
from otter_agent.admission import Holding, admit, admit_gpus, admit_scarcity, admit_without_budgets
from otter_agent.budgets.book import BudgetBook
from otter_agent.budgets.byhand import Hands
from otter_agent.budgets.subjects import with_shares
from otter_agent.changed import check_unchanged
from otter_agent.errors import AgentError
from otter_agent.fidelity.watch import Watch
from otter_agent.following import FIRST_S, Following
from otter_agent.gpu.devices import Devices
from otter_agent.gpu.owners import Running
from otter_agent.keeper import MeshKeeper
from otter_agent.leftovers import remove_leftovers
from otter_agent.links.admission import admit_links
from otter_agent.links.asking import resolve
from otter_agent.links.book import LinkBook
from otter_agent.machine import Machine
from otter_agent.publish import check_ports
from otter_agent.runtimes.base import Closes
from otter_agent.secrets import Secrets
from otter_agent.state import DesiredMesh, State
from otter_agent.status import mesh_status, mesh_summary, module_statuses
from otter_agent.timeline.player import Player
from otter_agent.users import user_name

IDLE_CHECK_S = 1.0


class Agent:
    """Everything one agent does. `serve` runs it; the other methods are what the API offers.

    Args:
        machine: The drivers.
        state: The durable memory.
        on_idle: Called when no mesh has existed for `Config.idle_exit_s`.
    """

    def __init__(self, machine: Machine, state: State, on_idle: Callable[[], None]) -> None:
        self.machine = machine
        self._state = state
        self._on_idle = on_idle
        self._keepers: dict[str, MeshKeeper] = {}
        self._group: asyncio.TaskGroup | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._news = asyncio.Event()
        self._last_busy = time.monotonic()
        self._users = 0
        self._measuring = asyncio.Lock()
        self.devices = Devices(machine, self._sharing, self._running, self.emit)

    @contextlib.contextmanager
    def needed(self) -> Iterator[None]:
        """It doesn't end for having no mesh, for the length of the block and a while after."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            self._last_busy = time.monotonic()

    async def serve(self, started: asyncio.Event, stop: asyncio.Event) -> None:
        """Work until `stop`; meshes live on. Sets `started` once the API can be offered."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for desired in self._state.meshes().values():
                self._keepers[desired.spec.name] = self._keeper(desired)
            await asyncio.to_thread(remove_leftovers, self.machine, set(self._keepers))
            for name, runtime in self.machine.runtimes.items():
                following = Following(self.machine, name, runtime, self._keepers, self.emit)
                await following.look(FIRST_S)
                self._spawn(following.run(), f"runtime {name}")
            for keeper in list(self._keepers.values()):
                self._spawn(self._keep(keeper), f"mesh {keeper.name}")
            self._spawn(self._watch_idle(), "idle")
            self._spawn(lost_helpers.watch(self.machine, self._keepers, self.emit), "outside")
            self._spawn(self.devices.run(), "devices")
            self._spawn(asyncio.to_thread(self.machine.stand_by), "stand by")
            started.set()
            await stop.wait()
            for task in self._tasks:
                task.cancel()
        for driver in (*self.machine.runtimes.values(), *self.machine.stores.values()):
            if isinstance(driver, Closes):
                await driver.aclose()

    def _spawn(self, work: Coroutine[None, None, None], name: str) -> None:
        assert self._group is not None, "used before serve()"
        task = self._group.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- meshes ------------------------------------------------------------------------------

    def _keeper(self, desired: DesiredMesh) -> MeshKeeper:
        return MeshKeeper(self.machine, self._state, self.emit, desired)

    async def _keep(self, keeper: MeshKeeper) -> None:
        await keeper.run()
        if self._keepers.get(keeper.name) is keeper:
            del self._keepers[keeper.name]
        await asyncio.to_thread(self._drop_unused_blobs)

    def put_mesh(
        self,
        spec: api.MeshSpec,
        *,
        author: int | None = None,
        made_for: int | None = None,
        spared: frozenset[str] = frozenset(),
        retry: bool = True,
    ) -> api.MeshStatus:
        """From now on keep `spec` true.

        Args:
            spec: What is asked for.
            author: uid of who asks.
            made_for: The generation for which it was planned, 0 for none; None: whichever.
            spared: Uploads that nobody needs, as what is made from them is here.
            retry: Whether what has failed or was stopped, and is as before, is tried again.

        Raises:
            AgentError: `missing-blobs`; `destroying` (an earlier mesh of that name still goes);
                `changed` (by somebody else since it was planned); `overcommit`.
        """
        if missing := set(self.missing_blobs(spec)) - spared:
            raise AgentError("missing-blobs", f"{len(missing)} uploads are missing")
        keeper = self._keepers.get(spec.name)
        before = keeper.desired if keeper is not None else None
        if keeper is not None and keeper.desired.destroying:
            text, hint = f"mesh {spec.name} is being destroyed", "wait until it is gone"
            raise AgentError("destroying", text, hint=hint)
        self.check_mesh(spec, made_for=made_for)
        desired = self._state.put_mesh(spec, author, time.time())
        if keeper is None:
            keeper = self._keepers[spec.name] = self._keeper(desired)
            self._spawn(self._keep(keeper), f"mesh {spec.name}")
        else:
            keeper.desire(desired)
            if retry:
                keeper.retry_failed()
        self._last_busy = time.monotonic()
        dev.drop_replaced(
            self.machine.layout,
            before.spec if before else None,
            [d.spec for d in self._state_meshes()],
        )
        Secrets(self.machine.layout).keep_only(spec)
        return self.mesh(spec.name)

    def check_mesh(self, spec: api.MeshSpec, *, made_for: int | None = None) -> None:
        """Whether this machine has what `spec` asks of it; changes nothing. As `put_mesh`.

        Raises:
            AgentError: `changed`, a mount that isn't allowed, `overcommit`, `unsupported-link`,
                `port-taken`.
        """
        keeper = self._keepers.get(spec.name)
        before = keeper.desired if keeper is not None else None
        check_unchanged(spec, before, made_for)
        machine = self.machine
        mounts.check(machine.layout, spec, machine.settings(), machine.config.mount_roots)
        admit_without_budgets(spec, machine.no_budgets)
        admit_gpus(spec, machine.grants.facts, machine.grants.why)
        admit_scarcity(spec, machine.hardness, lambda: machine.no_disks, machine.no_rates)
        admit(
            self._holding(spec),
            self._holding(before.spec) if before else None,
            [h for h in self.holdings() if h.mesh != spec.name],
            machine.room,
        )
        admit_links(machine.links_of(spec), spec)
        others = [d.spec for d in self._state_meshes() if d.spec.name != spec.name]
        check_ports(spec, before.spec if before else None, others)

    def holdings(self) -> list[Holding]:
        """What each mesh holds of the machine; those that go make room already."""
        meshes = [d for d in self._state_meshes() if not d.destroying]
        return [self._holding(d.spec, d.owner) for d in meshes]

    def _holding(self, spec: api.MeshSpec, owner: int | None = None) -> Holding:
        return Holding.of(spec, owner, self.machine.hardness)

    async def measure_waking(self) -> None:
        """Find out how this machine wakes up; one thread is busy, however many ask."""
        async with self._measuring:
            await asyncio.to_thread(self.machine.waking.value)

    async def measure_for(self, spec: api.MeshSpec) -> None:
        """Find out how fast this machine's cores are, if a mesh wants to know."""
        if any(api.speeds(spec)):
            await asyncio.to_thread(self.machine.speed.value)

    def put_source(
        self, mesh: str, module: str, change: api.SourceChange, by: int | None
    ) -> api.ModuleStatus:
        """Let a module run from another source; nothing else of the mesh is looked at anew.

        Raises:
            AgentError: `missing-blobs`, `destroying`, `changed` (by somebody else meanwhile).
        """
        keeper = self._require(mesh)
        before = keeper.desired
        if before.destroying:
            raise AgentError("destroying", f"mesh {mesh} is being destroyed")
        spec = dev.changed(before.spec, module, change)
        api.check(spec)
        own = {blob for m in spec.modules if m.name == module for blob in m.blobs()}
        if missing := own.intersection(self.missing_blobs(spec)):
            raise AgentError("missing-blobs", f"{len(missing)} uploads are missing")
        keeper.desire(self._state.put_mesh(spec, by, time.time()))
        dev.drop_replaced(self.machine.layout, before.spec, [d.spec for d in self._state_meshes()])
        return next(m for m in self.modules(mesh) if m.name == module)

    def order(self, mesh: str, module: str, order: api.Order, by: int | None) -> api.ModuleStatus:
        """Start, stop or restart a module of a mesh that has it; its state right after that.

        Raises:
            AgentError: `destroying`; or the disk is full: nothing was changed.
        """
        keeper = self._lasting(mesh)
        keeper.order(module, order, user_name(by))
        return next(m for m in self.modules(mesh) if m.name == module)

    def links(self, mesh: str) -> LinkBook:
        """What is asked of a mesh's links, and in force."""
        return self._require(mesh).links

    def fidelity(self, mesh: str) -> Watch:
        """What watches whether the links of a mesh are what was asked."""
        return self._require(mesh).fidelity

    def player(self, mesh: str) -> Player:
        """What plays a mesh's timeline."""
        return self._require(mesh).player

    def order_timeline(
        self, mesh: str, order: api.TimelineOrder, by: int | None, at: float | None = None
    ) -> api.TimelineStatus:
        """Start, pause or reset a mesh's timeline; where it stands right after that.

        Args:
            mesh: Which.
            order: What to do.
            by: uid of who asks.
            at: Of `start`: the moment, by this machine's clock; None: now.

        Raises:
            AgentError: `not-found`, `destroying`; or the disk is full: nothing was changed.
        """
        keeper = self._lasting(mesh)
        keeper.player.order(order, user_name(by), at)
        return keeper.player.status()

    async def shape(
        self, mesh: str, changes: Sequence[api.LinkChange], by: int | None, *, check: bool = False
    ) -> list[api.LinkStatus]:
        """Change links by hand; returns when that is in force, with what is.

        With `check` nothing is changed: it only says whether that could be.

        Raises:
            AgentError: `not-found`, `bad-request`, `unsupported-link`, `destroying`: nothing was
                changed.
        """
        keeper = self._lasting(mesh)
        book = keeper.links
        asked = resolve(changes, book.all(), mesh)
        named = book.shaped(asked) if check else await book.shape(asked, user_name(by))
        return [book.status(way) for way in named]

    def budgets(self, mesh: str) -> BudgetBook:
        """What is asked of a mesh's hosts and modules, and in force."""
        return self._require(mesh).budgets

    async def shape_budgets(
        self, mesh: str, changes: Sequence[api.BudgetChange], by: int | None, *, check: bool = False
    ) -> list[api.BudgetStatus]:
        """Change budgets by hand; returns when that is in force, with what is.

        With `check` nothing is changed: it only says whether that could be.

        Raises:
            AgentError: `not-found`, `bad-request`, `overcommit`, `destroying`: nothing was changed.
        """
        keeper = self._lasting(mesh)
        others = [h for h in self.holdings() if h.mesh != mesh]
        hands = Hands(self.machine, keeper.budgets, keeper.desired.spec, others)
        return await (hands.check(changes) if check else hands.shape(changes, user_name(by)))

    def owner_of(self, mesh: str) -> int | None:
        """The uid of who made a mesh; None: unknown, or there is no such mesh."""
        keeper = self._keepers.get(mesh)
        return keeper.desired.owner if keeper is not None else None

    def destroy_mesh(self, name: str) -> None:
        """Remove everything of a mesh; it is gone when `mesh(name)` raises `not-found`."""
        keeper = self._require(name)
        if not keeper.desired.destroying:
            keeper.desire(self._state.destroy_mesh(keeper.desired))
            self.emit(name, "mesh", name, "being destroyed", "destroying")

    def mesh(self, name: str) -> api.MeshStatus:
        """Status of one mesh."""
        excess = self.machine.room.excess(self.holdings())
        return mesh_status(self.machine, self._require(name).view(), excess)

    def spec(self, name: str) -> api.MeshSpec:
        """What is asked of one mesh."""
        return self._require(name).desired.spec

    def modules(self, name: str) -> tuple[api.ModuleStatus, ...]:
        """Status of the modules of one mesh."""
        return module_statuses(self._require(name).view())

    def meshes(self, asker: int | None = None) -> list[api.MeshSummary]:
        """One line per mesh, for the user `asker`."""
        excess = self.machine.room.excess(self.holdings())
        keepers = sorted(self._keepers.items())
        return [mesh_summary(keeper.view(), excess, asker) for _, keeper in keepers]

    def _lasting(self, name: str) -> MeshKeeper:
        keeper = self._require(name)
        if keeper.desired.destroying:
            raise AgentError("destroying", f"mesh {name} is being destroyed")
        return keeper

    def _require(self, name: str) -> MeshKeeper:
        keeper = self._keepers.get(name)
        if keeper is None:
            known = ", ".join(sorted(self._keepers)) or "none"
            raise AgentError("not-found", f"no mesh {name!r} here", hint=f"there are: {known}")
        return keeper

    # --- secrets and volumes -----------------------------------------------------------------

    def put_secrets(self, name: str, values: Mapping[str, str]) -> api.MeshStatus:
        """Keep the values of a mesh's secrets; modules whose value is another now start anew.

        Raises:
            AgentError: `not-found`; a value is too long; there is no tmpfs to be had.
        """
        keeper = self._require(name)
        changed = Secrets(self.machine.layout).put(keeper.desired.spec, values)
        keeper.secrets_came(changed)
        return self.mesh(name)

    def differing_secrets(self, name: str, values: Mapping[str, str]) -> dict[str, list[str]]:
        """Modules -> secrets whose values are others than those they run with; changes nothing.

        Raises:
            AgentError: `not-found`.
        """
        spec = self._require(name).desired.spec
        return Secrets(self.machine.layout).differing(spec, values)

    def users(self, used: Callable[[api.ModuleSpec], Iterable[str]]) -> dict[str, list[str]]:
        """Each name that modules use of something -> those that do (`mesh/module`).

        Args:
            used: What one module uses.
        """
        found: dict[str, list[str]] = defaultdict(list)
        for desired in self._state_meshes():
            for module in desired.spec.modules:
                for name in set(used(module)):
                    found[name].append(f"{desired.spec.name}/{module.name}")
        return found

    def _sharing(self) -> list[api.MeshSpec]:
        """With the shares of a GPU that are asked now."""
        lasting = [k for k in list(self._keepers.values()) if not k.desired.destroying]
        return [with_shares(k.desired.spec, k.budgets.shares()) for k in lasting]

    def _running(self) -> list[Running]:
        return [
            Running(keeper.name, module.name, module.pid)
            for keeper in self._keepers.values()
            for module in module_statuses(keeper.view())
            if module.pid is not None
        ]

    # --- uploads -----------------------------------------------------------------------------

    def missing_blobs(self, spec: api.MeshSpec) -> list[str]:
        """Digests that have to be uploaded before `put_mesh`."""
        return sorted(b for b in spec.blobs() if not (self.machine.layout.blobs / b).exists())

    def _drop_unused_blobs(self) -> None:
        """Uploads that no mesh names any more, but for the last hour's: an apply may be coming."""
        used = {blob for desired in self._state_meshes() for blob in desired.spec.blobs()}
        recent = time.time() - 3600
        folder = self.machine.layout.blobs
        for path in folder.iterdir() if folder.exists() else ():
            with contextlib.suppress(FileNotFoundError):  # another mesh's end came first
                if path.name not in used and path.stat().st_mtime < recent:
                    path.unlink()

    def in_use(self) -> dict[str, list[str]]:
        """Content id of each image or environment in use -> the modules that use it."""
        found: dict[str, list[str]] = defaultdict(list)
        for keeper in self._keepers.values():
            for module, digest in keeper.artifacts().items():
                found[digest].append(f"{keeper.name}/{module}")
        return found

    def _state_meshes(self) -> list[DesiredMesh]:
        return [keeper.desired for keeper in list(self._keepers.values())]

    # --- events ------------------------------------------------------------------------------

    def emit(
        self,
        mesh: str,
        kind: str,
        subject: str,
        text: str,
        state: str,
        data: dict[str, Any] | None = None,
    ) -> None:
        """Record an event and wake those who follow."""
        self._state.add_event(time.time(), mesh, kind, subject, text, state, data or {})
        self._news.set()
        self._news = asyncio.Event()

    def last_event(self) -> int:
        """Number of the newest event."""
        return self._state.last_event()

    async def events(
        self, *, mesh: str | None, since: int, follow: bool
    ) -> AsyncIterator[list[api.Event]]:
        """Events after number `since`, as many as there are; with `follow` for ever."""
        while True:
            news = self._news
            if batch := self._state.events(mesh=mesh, since=since):
                yield batch
                since = batch[-1].seq
            elif not follow:
                return
            else:
                await news.wait()

    # --- housekeeping ------------------------------------------------------------------------

    async def _watch_idle(self) -> None:
        limit = self.machine.config.idle_exit_s
        self._last_busy = time.monotonic()  # it may have taken long to begin
        while limit is not None:
            if self._keepers or self._users:
                self._last_busy = time.monotonic()
            elif time.monotonic() - self._last_busy > limit:
                self._on_idle()
                return
            await asyncio.sleep(min(IDLE_CHECK_S, limit))
