"""How each step of a module's life is done: drivers called in the right order, nothing decided.

Each function is idempotent, so a step that a killed agent left half done is simply done again.
Must not know: when steps happen, HTTP.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from msgspec.structs import replace

from net.errors import DriverError, OtterError
from otter_agent import api, dev, directory, folders, mounts, shared, storage
from otter_agent.budgets.book import BudgetBook
from otter_agent.errors import NetworkError
from otter_agent.gpu.granting import Coming
from otter_agent.images import weights
from otter_agent.images.base import BuildLog
from otter_agent.images.hub import TOKEN_VARIABLE
from otter_agent.images.weights import WeightCache
from otter_agent.layout import ModulePaths
from otter_agent.leasing.members import member
from otter_agent.links.book import LinkBook
from otter_agent.links.netem import segments
from otter_agent.machine import Machine
from otter_agent.network import names, rates
from otter_agent.runtimes.base import (
    Artifact,
    GivesGpus,
    GpuAccess,
    Instance,
    Key,
    Logs,
    Signals,
    Workload,
)
from otter_agent.secrets import Secrets
from otter_agent.talk import clockfile
from otter_agent.volumes import Volumes

STOP_GRACE_S = 5.0
"""Between SIGTERM and SIGKILL: half of Docker's default, as a removed module's data goes too."""
TAIL_LINES = 20
AT_ONCE = 32
"""Steps of a mesh: an engine does no more of them beside each other, and those that wait for their
turn aren't late."""


@dataclass(frozen=True, slots=True)
class Steps:
    """The steps, for the modules of one mesh on one machine."""

    machine: Machine
    mesh: str

    def key(self, module: str) -> Key:
        """Names a module's instance."""
        return Key(self.mesh, module)

    def group(self, host: str) -> str:
        """The budget group of a host, relative to the agent's own."""
        return f"{self.mesh}/{host}"

    async def make_folders(
        self, spec: api.MeshSpec, in_use: set[str | None], budgets: BudgetBook
    ) -> None:
        """Module folders, hosts files, and the hosts' budgets.

        The group of a host that is wanted no more stays while the host is `in_use`: its modules
        are still to be asked to end.
        """
        await asyncio.to_thread(self._make_folders, spec, in_use, budgets)

    def _make_folders(
        self, spec: api.MeshSpec, in_use: set[str | None], budgets: BudgetBook
    ) -> None:
        outward = {host.name for host in spec.hosts if host.reaches_out}
        # Fake modules read nothing, and a thousand fake machines would write gigabytes.
        real = any(module.runtime != "fake" for module in spec.modules)
        read = real or not spec.directory
        hosts = folders.hosts_file(directory.names(self.machine.layout, spec)) if read else ""
        for module in spec.modules:
            folders.make(
                self.machine.layout, self.mesh, module.name, hosts,
                reaches_out=module.host in outward,
            )  # fmt: skip
        if real:
            clockfile.ensure(self.machine.layout, spec, time.time())
        shared.make(self.machine.layout, spec)
        cgroups = self.machine.cgroups
        if cgroups is None:
            return
        for host in spec.hosts:
            budgets.ensure(host)
        wanted = {self.group(h.name) for h in spec.hosts}
        for group in cgroups.groups():
            mesh, _, below = group.partition("/")
            mine = mesh == self.mesh and below and "/" not in below
            if mine and group not in wanted and below not in in_use:
                cgroups.kill(group)
                cgroups.remove(group)

    async def make_network(self, spec: api.MeshSpec, links: LinkBook) -> None:
        """Namespaces, links, addresses, routes."""
        if spec.modules and all(m.runtime == "fake" for m in spec.modules):
            # Nothing real is to be joined, and a laptop may lack the right to make it.
            links.kinds()
            links.devices_are_there()
            return
        await asyncio.to_thread(self.machine.network.converge, spec, links)

    async def reroute(self, spec: api.MeshSpec, hosts: Collection[str]) -> None:
        """Routes of hosts, and nothing else."""
        if spec.modules and all(m.runtime == "fake" for m in spec.modules):
            return
        await asyncio.to_thread(self.machine.network.reroute, spec, hosts)

    async def make_links(self, links: LinkBook) -> None:
        """As scarce as is asked."""
        await asyncio.to_thread(links.bring_into_force)

    async def open_outside(self, spec: api.MeshSpec) -> None:
        """Gateways and published ports."""
        if spec.modules and all(m.runtime == "fake" for m in spec.modules):
            return
        await asyncio.to_thread(self.machine.network.open_outside, spec)

    async def prepare(self, module: api.ModuleSpec, log: BuildLog) -> Artifact:
        """Find or build what the module runs, and have the weights that it names."""
        if module.weights and module.runtime != "fake":
            secrets = Secrets(self.machine.layout).read(self.mesh, module.name)
            token = secrets.get(TOKEN_VARIABLE, b"").decode(errors="replace")
            await WeightCache(self.machine.layout, token=token).ensure(module, log)
        return await self.machine.stores[module.runtime].ensure(module, log)

    async def create(
        self, module: api.ModuleSpec, artifact: Artifact, budget: api.Budget, threads: int = 1
    ) -> Instance:
        """Fresh folders and a new instance, not started."""
        layout = self.machine.layout
        module = replace(module, gpu_share=budget.gpu_share)
        binds = await asyncio.to_thread(self._furnish, module, artifact)
        gpu = await self._give_gpus(module, artifact)
        return await self.machine.runtimes[module.runtime].create(
            Workload(
                key=self.key(module.name),
                spec_digest=api.instance_digest(module),
                hostname=module.name,
                artifact=artifact,
                argv=module.command,
                env={**weights.variables(module), **module.env},
                cgroup=self.group(module.host),
                budget=budget,
                paths=layout.module(self.mesh, module.name),
                binds=binds,
                devices=module.devices,
                secrets=Secrets(layout).folder(self.mesh, module.name) if module.secrets else None,
                threads=threads,
                gpu=gpu,
            )
        )

    async def _give_gpus(self, module: api.ModuleSpec, artifact: Artifact) -> GpuAccess | None:
        """What it asks for; None: nothing, or it does without."""
        grants = self.machine.grants
        if api.gpus_of(module) is None and grants.of(self.mesh, module.name) is None:
            return None
        if module.runtime == "fake":
            return None
        await grants.known()
        coming = Coming("env")
        if grants.facts:
            coming = await self._coming(module, artifact)
        return await asyncio.to_thread(grants.give, self.mesh, module, coming)

    async def _coming(self, module: api.ModuleSpec, artifact: Artifact) -> Coming:
        driver = self.machine.runtimes[module.runtime]
        if not isinstance(driver, GivesGpus):
            return Coming("", f"runtime {module.runtime} gives none")
        way, why = await driver.gpu_way()
        user = await driver.user_of(self.key(module.name), artifact) if way else ""
        return Coming(way, why, user)

    def _furnish(self, module: api.ModuleSpec, artifact: Artifact) -> tuple[mounts.Bind, ...]:
        """Fill the module's folders; all that is shown to it of the machine. Blocking."""
        layout = self.machine.layout
        binds = self._provide(module) + shared.binds(layout, self.mesh, module)
        folders.fill(layout, self.mesh, module, shared.wiring(layout, self.mesh, module))
        if module.runtime != "fake":
            binds += weights.binds(layout, module)
        self._give_turns(module)
        return binds + dev.shown(layout, self.mesh, module, artifact)

    def _give_turns(self, module: api.ModuleSpec) -> None:
        """It may ask for turns of a GPU from now on, by its share. Blocking."""
        if module.gpu_share is not None and module.runtime != "fake":
            try:
                self.machine.leases.put(member(self.machine.layout, self.mesh, module))
            except OSError as error:
                why = f"its share of a GPU: {error}"
                key = str(self.key(module.name))
                raise DriverError("turns", "update", key, why, recoverable=True) from error

    def _provide(self, module: api.ModuleSpec) -> tuple[mounts.Bind, ...]:
        """Make the module's volumes, and see that its mounts and devices are allowed and there."""
        if module.runtime == "fake" or not (module.mounts or module.volumes or module.devices):
            return ()
        for volume in module.volumes:
            Volumes(self.machine.layout).ensure(volume.volume)
        for device in module.devices:
            mounts.check_device(module.name, device)
        return mounts.binds(
            self.machine.layout, module, self.machine.settings(), self.machine.config.mount_roots
        )

    async def start(self, module: api.ModuleSpec) -> Instance:
        """A new life, held before its first instruction."""
        paths = self.machine.layout.module(self.mesh, module.name)
        if not folders.clear_ready(paths):
            await asyncio.to_thread(folders.remove_tree, paths.ready)
        if module.storage_bytes is not None and module.runtime != "fake":
            await asyncio.to_thread(self._store_again, module, paths)
        return await self.machine.runtimes[module.runtime].start(self.key(module.name))

    def _store_again(self, module: api.ModuleSpec, paths: ModulePaths) -> None:
        """Its work folder as it was; where that went with the machine's memory, as at first."""
        if not storage.again(paths):
            layout = self.machine.layout
            folders.fill(layout, self.mesh, module, shared.wiring(layout, self.mesh, module))

    async def halt(self, module: api.ModuleSpec) -> Instance:
        """Ask a module to end, and see that it does; its folders stay."""
        driver = self.machine.runtimes[module.runtime]
        return await driver.stop(self.key(module.name), STOP_GRACE_S)

    async def signal(self, module: str, runtime: str, number: int) -> None:
        """Send a signal to all processes of a module.

        Raises:
            OtterError: That can't be done.
        """
        driver = self.machine.runtimes[runtime]
        if not isinstance(driver, Signals):
            raise DriverError(runtime, "signal", f"{self.mesh}/{module}", "this runtime can't")
        await driver.signal(self.key(module), number)

    async def cut(self, spec: api.MeshSpec, pids: Mapping[str, int], *, shaped: bool) -> list[str]:
        """Have modules and gateways cut what they send into packets, or not; returns problems.

        Args:
            spec: The mesh.
            pids: Module -> a process in its namespace.
            shaped: Whether they have to.
        """
        real = {
            m.name: pids[m.name] for m in spec.modules if m.runtime != "fake" and m.name in pids
        }
        gateways = [h.name for h in spec.hosts if h.gateway]
        return await asyncio.to_thread(self._cut, real, gateways, shaped=shaped)

    def _cut(self, pids: Mapping[str, int], gateways: Sequence[str], *, shaped: bool) -> list[str]:
        problems = []
        for name, pid in pids.items():
            try:
                segments.limit_module(pid, f"{self.mesh}/{name}", shaped=shaped)
            except NetworkError as error:
                problems.append(str(error))
        for host in gateways:
            router = names.namespace(self.machine.agent_id, self.mesh, names.outside(host))
            target = f"{self.mesh}/{host}"
            try:
                segments.limit_router(router, names.OUTSIDE_DEVICE, target, shaped=shaped)
            except NetworkError as error:
                problems.append(str(error))
        return problems

    async def connect(
        self,
        spec: api.MeshSpec,
        module: api.ModuleSpec,
        instance: Instance,
        limit: Callable[[], Awaitable[None]],
        *,
        cut: bool = False,
    ) -> Instance:
        """Plug the network into a held instance and let it run; check one that runs.

        Args:
            spec: The mesh.
            module: Which.
            instance: It.
            limit: Limits what it sends and receives; called once it is plugged, before it runs.
            cut: Whether what it sends has to be cut into packets.
        """
        if instance.pid is not None and module.runtime != "fake":
            await self.machine.limiter(self.mesh, module.name, instance.pid)
            host = next(h for h in spec.hosts if h.name == module.host)
            await asyncio.to_thread(
                self.machine.network.plug,
                self.mesh,
                host,
                module.name,
                module.address,
                instance.pid,
                spec.mtu,
            )
            if cut:
                target = f"{self.mesh}/{module.name}"
                await asyncio.to_thread(segments.limit_module, instance.pid, target, shaped=True)
            await limit()
        return await self.machine.runtimes[module.runtime].release(self.key(module.name))

    async def rate(
        self, module: api.ModuleSpec, pid: int | None, own: api.Budget, host: api.Budget
    ) -> None:
        """What a plugged module sends and receives, and all of its host's together."""
        if module.runtime != "fake" and pid is not None:
            plugged = rates.plugged(self.machine.agent_id, self.mesh, module, pid)
            await asyncio.to_thread(plugged.limit, rates.of(own), rates.of(host))

    async def update(self, module: api.ModuleSpec, budget: api.Budget) -> None:
        """New limits for a running instance."""
        if budget.gpu_share is not None:
            await asyncio.to_thread(self._give_turns, replace(module, gpu_share=budget.gpu_share))
        await self.machine.runtimes[module.runtime].update(self.key(module.name), budget)

    async def remove(
        self, module: str, runtime: str, host: str | None, grace_s: float = STOP_GRACE_S
    ) -> None:
        """Stop and remove an instance, with its plug and its budget group."""
        driver = self.machine.runtimes[runtime]
        await driver.stop(self.key(module), grace_s)
        await driver.remove(self.key(module))
        if host is None:
            return
        await asyncio.to_thread(self.machine.network.unplug, self.mesh, host, module)

    async def remove_all(self, links: LinkBook) -> None:
        """Everything of the mesh but its instances: namespaces, groups, folders."""
        links.close()
        await asyncio.to_thread(self._remove_all)

    def _remove_all(self) -> None:
        if not self.machine.problems.get("network"):
            self.machine.let_go(self.mesh)
            self.machine.network.remove(self.mesh)
        cgroups = self.machine.cgroups
        if cgroups is not None and any(
            g == self.mesh or g.startswith(self.mesh + "/") for g in cgroups.groups()
        ):
            cgroups.kill(self.mesh)
            cgroups.remove(self.mesh)
        Secrets(self.machine.layout).remove(self.mesh)
        folders.remove(self.machine.layout, self.mesh)

    async def tail(self, module: api.ModuleSpec) -> tuple[str, ...]:
        """The last lines a module wrote; empty where the runtime can't tell."""
        driver = self.machine.runtimes[module.runtime]
        if not isinstance(driver, Logs):
            return ()
        lines: deque[str] = deque(maxlen=TAIL_LINES)
        try:
            async for line in driver.logs(self.key(module.name), tail=TAIL_LINES, follow=False):
                lines.append(line.text)
        except OtterError:
            return tuple(lines)
        return tuple(lines)


@asynccontextmanager
async def patient(runtime: str, op: str, key: Key, limit_s: float) -> AsyncIterator[None]:
    """A step that takes longer than any should, as an engine that hangs makes it, failed.

    Raises:
        DriverError: It took longer than `limit_s`.
    """
    try:
        async with asyncio.timeout(limit_s):
            yield
    except TimeoutError as error:
        why = f"no answer within {limit_s:g} s"
        raise DriverError(runtime, op, str(key), why, recoverable=True) from error
