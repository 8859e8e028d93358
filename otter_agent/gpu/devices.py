"""The machine's GPUs as the agent knows them: what they do, whose they are, whether limits hold."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from msgspec.structs import replace

from net.errors import DriverError
from otter_agent import api
from otter_agent.gpu.checking import NO_V2, Probe, Seen, group_folder, trouble, unlike
from otter_agent.gpu.granting import AT_ODDS, Name
from otter_agent.gpu.owners import Running, with_owners
from otter_agent.gpu.watch import Gpus
from otter_agent.gpu.words import Limit, LimitOrder, News
from otter_agent.leasing.keeping import Keeping

if TYPE_CHECKING:
    from otter_agent.machine import Machine

LOOK_S = 2.0
"""Between two looks whether what modules were given is what they have."""
IDLE_LOOK_S = 10.0
"""The same while none has any."""


class Emit(Protocol):
    """`Agent.emit`."""

    def __call__(
        self, mesh: str, kind: str, subject: str, text: str, state: str,
        data: dict[str, Any] | None = None, /,
    ) -> None:  # fmt: skip
        """Record one."""


class Devices:
    """Of one agent.

    Args:
        machine: Its drivers, what gives GPUs and turns of them among them.
        specs: All meshes, as they are wanted now.
        running: All modules that run here now.
        emit: Records events.
    """

    def __init__(
        self,
        machine: Machine,
        specs: Callable[[], Iterable[api.MeshSpec]],
        running: Callable[[], Iterable[Running]],
        emit: Emit,
    ) -> None:
        self._grants = machine.grants
        self._specs = specs
        self._running = running
        self._emit = emit
        self._gpus = Gpus(machine.layout.run, self._tell, machine.nvml)
        self._turns = Keeping(machine.leases, machine.layout, specs, emit)
        self._probe = Probe(
            machine.grants, machine.leases, machine.cgroups, self._gpus.limit, machine.layout.run
        )
        self._news = asyncio.Event()
        self._verifying = asyncio.Lock()
        self._limitable: dict[str, str] = {}
        self._cut_off: dict[Name, int] = {}
        """Modules whose MPS was ended -> their pids then."""
        machine.limiter = self.hold

    async def run(self) -> None:
        """Until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._gpus.run(), name="gpus")
                group.create_task(self._turns.run(), name="turns")
                group.create_task(self._look_after(), name="grants of GPUs")
        finally:
            self._tidying()()  # MPS lives on, where modules do that need it

    async def state(self) -> api.GpuState:
        """All GPUs now, which modules use them, and what of their time each had."""
        state = await self._gpus.state()
        self._grants.take(state)  # who was told of a loss plans without it
        state = await asyncio.to_thread(with_owners, state, list(self._running()))
        return replace(state, shares=await self._turns.look(), grants=self._grants.all())

    async def known(self) -> None:
        """Returns when it is known which GPUs there are."""
        await self._grants.known()

    async def verify(self) -> api.GpuState:
        """Try each level of the ladder, and look whether those in force hold."""
        state = await self.state()
        async with self._verifying:
            levels = await self._probe.levels(state)
        uuids = {gpu.index: gpu.uuid for gpu in state.gpus}
        self._limitable |= {
            uuids[fact.gpu]: fact.why
            for fact in levels
            if fact.level == "limit" and fact.gpu is not None
        }
        self._grants.can_limit(self._limitable)  # what is told is what grants go by
        state = await self.state()  # trying takes seconds: one may be lost since
        await self._check(state)
        await asyncio.to_thread(self._tidying())
        return replace(state, levels=tuple(levels), grants=self._grants.all())

    async def hold(self, mesh: str, module: str, pid: int) -> None:
        """Hold a module that is about to begin to its memory, by the driver.

        Raises:
            DriverError: That can't be, and it was asked for.
        """
        grant = self._grants.of(mesh, module)
        if grant is None or grant.memory != "limit":
            return
        for uuid, limit in (await self._limits(grant, pid, change=True)).items():
            why = unlike(limit, grant.memory_bytes)
            if why and grant.required:
                raise DriverError(
                    "gpu", "limit", f"{mesh}/{module} on {uuid}", why, recoverable=True,
                    hint="`otterctl gpu verify` tries what can be had here; apply it again then",
                )  # fmt: skip

    # --- looking after -----------------------------------------------------------------------

    async def _look_after(self) -> None:
        while True:
            self._news.clear()
            state = await self._gpus.state()
            self._grants.take(state, await self._which_can_limit(state))
            if self._grants.all():
                owned = await asyncio.to_thread(with_owners, state, list(self._running()))
                await self._check(owned)
            await asyncio.to_thread(self._tidying())
            wait_s = LOOK_S if self._grants.all() else IDLE_LOOK_S
            try:
                async with asyncio.timeout(wait_s):
                    await self._news.wait()
            except TimeoutError:
                continue

    def _tidying(self) -> Callable[[], None]:
        """What takes away the grants of modules that have gone: blocking, in any thread.

        Who has gone is looked up here: what meshes there are is the event loop's own.
        """
        if self._grants.empty:
            return lambda: None
        had = self._grants.snapshot()
        return partial(self._grants.keep, self._names(), had)

    def _names(self) -> set[Name]:
        """Modules that may have grants: those that are wanted, and those that still run."""
        wanted = {(spec.name, module.name) for spec in self._specs() for module in spec.modules}
        return wanted | {(one.mesh, one.module) for one in self._running()}

    async def _which_can_limit(self, state: api.GpuState) -> Mapping[str, str]:
        """GPU -> why the driver can't limit its memory; tried once of each."""
        there = {gpu.uuid: gpu for gpu in state.gpus if gpu.uuid and not gpu.error}
        self._limitable = {uuid: why for uuid, why in self._limitable.items() if uuid in there}
        fresh = [gpu for uuid, gpu in there.items() if uuid not in self._limitable]
        if fresh:
            async with self._verifying:
                self._limitable |= await self._probe.limitable(fresh)
        return self._limitable

    async def _check(self, state: api.GpuState) -> None:
        """Tell of what doesn't hold, and of what holds again."""
        pids = {(one.mesh, one.module): one.pid for one in self._running()}
        mps = await self._mps_trouble(pids)
        there = frozenset(gpu.uuid for gpu in state.gpus if not gpu.error)
        kinds: dict[Name, set[str]] = {}
        for process in (p for gpu in state.gpus for p in gpu.processes):
            kinds.setdefault((process.mesh, process.module), set()).add(process.kind)
        for grant in self._grants.all():
            name = grant.mesh, grant.module
            if not grant.uuids or grant.trouble.startswith(AT_ODDS):
                continue
            limits = None
            if grant.memory == "limit" and name in pids:
                limits = await self._limits(grant, pids[name])
            cut_off = self._cut_off.get(name) == pids.get(name, -1)
            seen = Seen(
                there, frozenset(kinds.get(name, ())),
                mps or ("it was ended while the module ran" if cut_off else ""), limits,
            )  # fmt: skip
            await self._judge(grant, *trouble(grant, seen))

    async def _judge(self, grant: api.GpuGrant, why: str, state: str) -> None:
        if why == grant.trouble:
            return
        await asyncio.to_thread(self._grants.trouble, (grant.mesh, grant.module), why)
        text = f"its GPU: {why}" if why else "its GPU: it is held to its part again"
        data = {"uuids": list(grant.uuids), "memory": grant.memory, "time": grant.time}
        self._emit(grant.mesh, "gpu", grant.module, text, state or "held", data)

    async def _mps_trouble(self, pids: Mapping[Name, int]) -> str:
        """Why MPS isn't to be reached; one that was ended is started again, for those to come."""
        if not self._grants.uses_mps():
            return ""
        why = await asyncio.to_thread(self._grants.mps.trouble)
        if not why:
            return ""
        again = await asyncio.to_thread(self._grants.mps.start)
        self._emit("", "gpu", "mps", f"MPS: {why}", "lost")
        if again:
            return again
        for grant in self._grants.all():
            if "mps" in (grant.memory, grant.time):
                name = grant.mesh, grant.module
                self._cut_off[name] = pids.get(name, 0)
        return ""

    async def _limits(
        self, grant: api.GpuGrant, pid: int, *, change: bool = False
    ) -> dict[str, Limit]:
        folder = await asyncio.to_thread(group_folder, pid)
        if not folder:
            return dict.fromkeys(grant.uuids, Limit(error=NO_V2))
        return {
            uuid: await self._gpus.limit(
                LimitOrder(uuid=uuid, folder=folder, change=change, hard_bytes=grant.memory_bytes)
            )
            for uuid in grant.uuids
        }

    def _tell(self, news: News) -> None:
        subject = "driver" if news.index is None else str(news.index)
        data = {"uuid": news.uuid, "xid": news.xid}
        self._emit("", "gpu", subject, news.text, news.kind, data)
        self._news.set()
