"""The docker runtime: each module a container with no network but the one that the agent plugs in.

    create: POST containers/create   start: POST start, GET json (pid)   release: the gate's FIFO

A container's first program is OTTER's gate (see gate/README.md), so `start` leaves it held. Its CPU
and memory budget is a control group of the agent's own around the container: budgets change
without Docker, in an order that cgroup v1 accepts. Must not know: when and why modules start.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from otter_agent.api import Budget, Copied, GpuWay, LogLine, PathInfo
from otter_agent.cgroups import Cgroups, members
from otter_agent.engine import Engine, EngineError, filters, translated
from otter_agent.errors import CgroupError, ContainerError
from otter_agent.layout import Layout
from otter_agent.mounts import Bind
from otter_agent.runtimes import container, container_files, container_gpus, gate, mounted
from otter_agent.runtimes.attach import follow_logs
from otter_agent.runtimes.base import (
    Artifact,
    ExecOutput,
    Instance,
    Key,
    LogPlace,
    Phase,
    Workload,
)
from otter_agent.runtimes.container_exec import run_exec
from otter_agent.runtimes.container_memory import SIGKILLED, OutOfMemory
from otter_agent.runtimes.containers import Containers
from otter_agent.runtimes.ending import Ending
from otter_agent.runtimes.gate.hold import arrives, is_held, let_through
from otter_agent.runtimes.setting import PLAIN, Setting
from otter_agent.runtimes.signals import hears
from otter_agent.secrets import Secrets

_PARALLEL_CREATES = 8
_PARALLEL_STARTS = 32
"""Two queues, so that the first containers start while the last ones are being made. Each start is
a row of short steps of several processes: the more of them, the less the processors wait."""
_PARALLEL_READS = 16
_RELEASE_S = 10.0
_CREATE_HINTS = {404: "apply again: the image is pulled or built first"}
_EXEC_HINTS = {409: "is the module running?"}
_RUNS = ("running", "paused")
_UP = (Phase.HELD, Phase.RUNNING)


class DockerRuntime:
    """Implements `Runtime`, `Logs` and `Exec` with a Docker engine.

    Args:
        docker_url: `unix:///…` of an engine on this machine.
        agent_id: Whose containers these are: a label on each.
        layout: Where the gate's file is kept, and the modules' folders are.
        cgroups: Where budgets are made.
    """

    name = "docker"

    def __init__(self, docker_url: str, agent_id: str, layout: Layout, cgroups: Cgroups) -> None:
        self.engine = Engine(docker_url)
        self._containers = Containers(self.engine, agent_id)
        self._ending = Ending(self._containers)
        self._layout = layout
        self._cgroups = cgroups
        self._out_of_memory = OutOfMemory(cgroups)
        self._known: dict[Key, Instance] = {}  # what was last seen; the engine is the truth
        self._grouped: set[Key] = set()  # created by this process, so their groups are there
        self._binds: dict[Key, tuple[Bind, ...]] = {}  # what each is shown of the machine
        self._creates = asyncio.Semaphore(_PARALLEL_CREATES)
        self._starts = asyncio.Semaphore(_PARALLEL_STARTS)
        self._reads = asyncio.Semaphore(_PARALLEL_READS)

    @property
    def version(self) -> str:
        """Of the engine."""
        return self.engine.version

    async def aclose(self) -> None:
        """Close the connections to the engine; containers live on."""
        self._out_of_memory.close()
        await self.engine.aclose()

    # --- life -------------------------------------------------------------------------------

    async def create(self, work: Workload) -> Instance:
        """See `Runtime`."""
        with translated(ContainerError, "create", work.key, _CREATE_HINTS):
            facts = await self._containers.image(work.artifact.reference)
            async with self._creates:
                body = await self._body(work, facts)
                made = await self._create(work, body)
        self._grouped.add(work.key)
        self._known[work.key] = made
        self._binds[work.key] = container.binds_of(body["Labels"])
        return made

    async def start(self, key: Key) -> Instance:
        """See `Runtime`."""
        with translated(ContainerError, "start", key):
            found = await self._require(key, "start")
            if found.phase in _UP:
                found = await self._inspect(found)
            if found.phase in _UP:
                return found
            if key not in self._grouped:
                await self._restore_group(found)
            if binds := self._binds.get(key):
                await asyncio.to_thread(mounted.check, "start", key, binds)
            async with self._starts:
                self._out_of_memory.forget(key)
                fresh = await self._containers.start(found.id)
                found = await self._inspect(found)
        if fresh:
            if found.pid is not None:
                await asyncio.to_thread(self._set_up, key, found.pid)
            found = await self._arrived(found)
            await self._see_mounts(found)
        return found

    def _set_up(self, key: Key, pid: int) -> None:
        """What its module's group may, the container's own may: v1 takes disks' limits for one."""
        self._out_of_memory.watch(key, pid)
        group = self._cgroups.group_of(pid)
        if group:
            self._cgroups.spread(group.rpartition("/")[0])

    async def release(self, key: Key) -> Instance:
        """See `Runtime`."""
        with translated(ContainerError, "release", key):
            found = await self._require(key, "release")
            if found.pid is None or not is_held(found.pid):
                found = await self._inspect(found)
            if found.phase is Phase.CREATED:
                raise self._error("release", key, "it was not started")
            if found.phase is not Phase.HELD or found.pid is None:
                return found
            return await self._release(found, found.pid)

    async def update(self, key: Key, budget: Budget) -> None:
        """See `Runtime`."""
        with translated(ContainerError, "update", key):
            found = await self._require(key, "update")
            group = (await self._labels(found))[container.GROUP]
        await asyncio.to_thread(self._cgroups.ensure, group, budget)

    async def signal(self, key: Key, number: int) -> None:
        """See `Signals`: by the container's own group, wherever the engine has made it."""
        with translated(ContainerError, "signal", key):
            found = await self._require(key, "signal")
            if found.pid is None:
                return
            group = (await self._labels(found))[container.GROUP]
        where = str(self._cgroups.kill_directory(group))
        if found.pid in await asyncio.to_thread(members.pids, where):
            await asyncio.to_thread(members.tell, where, number)
            return
        with contextlib.suppress(ProcessLookupError):  # a systemd slice is elsewhere
            os.kill(found.pid, number)

    async def stop(self, key: Key, grace_s: float) -> Instance:
        """See `Runtime`. A container that can't hear its stop signal is killed at once."""
        with translated(ContainerError, "stop", key):
            found = await self._find(key)
            shown = await self._containers.show(found.id) if found else None
            if shown is None:
                self._known.pop(key, None)
                return Instance(key, "", Phase.EXITED)
            found = self._seen(shown)
            if found.phase in _UP:
                await self._end(found, shown["Config"].get("StopSignal") or "SIGTERM", grace_s)
                found = await self._inspect(found)
        return replace(found, phase=Phase.EXITED, pid=None)

    async def _end(self, found: Instance, signal: str, grace_s: float) -> None:
        if found.phase is Phase.RUNNING and found.pid and hears(found.pid, signal):
            await self._ending.end(found.id, signal, grace_s)
        else:
            await self._ending.kill(found.id)

    async def remove(self, key: Key) -> None:
        """See `Runtime`."""
        with translated(ContainerError, "remove", key):
            for entry in await self._containers.listed(key):
                await self._ending.remove(entry["Id"], running=entry["State"] in _RUNS)
                await self._drop_group(entry["Labels"].get(container.GROUP, ""))
        self._out_of_memory.forget(key)
        self._known.pop(key, None)
        self._binds.pop(key, None)
        self._grouped.discard(key)

    # --- what is there ----------------------------------------------------------------------

    async def list(self) -> list[Instance]:
        """See `Runtime`."""
        before = dict(self._known)
        with translated(ContainerError, "list", "containers"):
            await self.engine.info()
            listed = await self._containers.listed()
            async with asyncio.TaskGroup() as group:
                looks = [group.create_task(self._look(entry)) for entry in listed]
        found = [instance for task in looks if (instance := task.result())]
        # What was made, seen or removed meanwhile is newer than what was listed.
        moved = {key: seen for key, seen in self._known.items() if before.get(key) is not seen}
        gone = before.keys() - self._known.keys()
        self._known = {i.key: i for i in found if i.key not in gone} | moved
        return sorted(found, key=lambda instance: instance.key)

    async def watch(self) -> AsyncIterator[Instance]:
        """See `Runtime`."""
        wanted = filters(type=["container"], event=["die"], label=[self._containers.label])
        with translated(ContainerError, "watch", "containers"):
            async with self.engine.stream("GET", "/events", params=wanted) as response:
                async for event in self.engine.objects(response):
                    if ended := await self._died(event["Actor"]):
                        yield ended
            raise EngineError(0, f"the engine at {self.engine.url} went away")

    def logs(
        self,
        key: Key,
        *,
        tail: int | None,
        follow: bool,
        since: float | None = None,
        until: float | None = None,
        place: LogPlace | None = None,
    ) -> AsyncIterator[LogLine]:
        """See `Logs`."""
        return follow_logs(
            self.engine, self._find_id, key,
            tail=tail, follow=follow, since=since, until=until, place=place or LogPlace(),
        )  # fmt: skip

    async def exec(
        self,
        key: Key,
        argv: Sequence[str],
        *,
        stdin: AsyncIterator[bytes] | None,
        output: ExecOutput,
        setting: Setting = PLAIN,
    ) -> int:
        """See `Exec`."""
        wiring = self._layout.module(key.mesh, key.module).wiring
        with translated(ContainerError, "exec", key, _EXEC_HINTS):
            found = await self._require(key, "exec")
            return await run_exec(
                self.engine, found.id, argv, stdin, output, setting, wiring=wiring
            )

    async def stat_path(self, key: Key, path: str) -> PathInfo:
        """See `Copies`."""
        with translated(ContainerError, "copy", key):
            found = await self._require(key, "copy")
            return await container_files.stat(self.engine, found.id, key, path)

    async def pack_path(self, key: Key, path: str) -> AsyncIterator[bytes]:
        """See `Copies`."""
        with translated(ContainerError, "copy", key):
            found = await self._require(key, "copy")
            async for chunk in container_files.pack(self.engine, found.id, key, path):
                yield chunk

    async def unpack_into(self, key: Key, path: str, chunks: AsyncIterator[bytes]) -> Copied:
        """See `Copies`."""
        with translated(ContainerError, "copy", key):
            found = await self._require(key, "copy")
            return await container_files.unpack(self.engine, found.id, key, path, chunks)

    async def gpu_way(self) -> tuple[GpuWay, str]:
        """See `GivesGpus`."""
        info = await self.engine.info()
        hook = shutil.which(container_gpus.HOOK) is not None
        texts = await asyncio.to_thread(_specifications, info)
        way = container_gpus.way(info, texts, hook=hook)
        return way, "" if way else container_gpus.NONE

    async def user_of(self, key: Key, artifact: Artifact) -> str:
        """See `GivesGpus`."""
        with translated(ContainerError, "create", key, _CREATE_HINTS):
            return (await self._containers.image(artifact.reference)).user

    # --- create -----------------------------------------------------------------------------

    async def _body(self, work: Workload, facts: container.ImageFacts) -> dict[str, Any]:
        info = await self.engine.info()
        driver = info["CgroupDriver"]

        def prepare() -> dict[str, Any]:
            mounted.check("create", work.key, work.binds)
            if work.secrets is not None:
                Secrets(self._layout).own(work.key.mesh, work.key.module, facts.user)
            group = container.group_of(work)
            self._cgroups.ensure(group, work.budget)
            return container.config(
                work, facts, agent_id=self._containers.agent_id,
                gate_file=gate.install(self._layout.lib / "gate"),
                cgroup_parent=self._cgroups.docker_parent(group, driver),
                cdi=container_gpus.names(info, _specifications(info)) if work.gpu else (),
            )  # fmt: skip

        return await asyncio.to_thread(prepare)

    async def _create(self, work: Workload, body: dict[str, Any]) -> Instance:
        name = container.name(self._containers.agent_id, work.key)
        try:
            made = await self._containers.create(name, body)
        except EngineError as exc:
            if exc.status != 409:
                self._containers.forget_image(work.artifact.reference)
                raise
            if kept := await self._settle_clash(name, work):
                return kept
            made = await self._containers.create(name, body)
        return Instance(work.key, work.spec_digest, Phase.CREATED, id=made)

    async def _settle_clash(self, name: str, work: Workload) -> Instance | None:
        """The name is taken: keep an instance of ours that is the same, remove another."""
        there = await self._containers.show(name)
        if there is None:
            return None
        if not self._containers.owns(there["Config"]["Labels"] or {}, work.key):
            why = f"the name {name} is taken by container {there['Id'][:12]}, which isn't ours"
            raise self._error("create", work.key, why, f"try docker rename {name} NAME")
        found = self._seen(there)
        usable = there["State"]["Status"] not in ("removing", "dead")
        if usable and found.spec_digest == work.spec_digest:
            return found
        await self._ending.remove(found.id, running=there["State"]["Running"])
        return None

    async def _see_mounts(self, found: Instance) -> None:
        """The engine mounts by path, links and all: see that it mounted what was allowed.

        The container is still held: none of the module's code has run.
        """
        binds = self._binds.get(found.key, ())
        if not binds or found.pid is None:
            return
        try:
            await asyncio.to_thread(mounted.verify, found.key, found.pid, binds)
        except ContainerError:
            with translated(ContainerError, "start", found.key):
                await self._ending.kill(found.id)
                self._known.pop(found.key, None)
            raise

    async def _restore_group(self, found: Instance) -> None:
        """Groups don't outlive a reboot: make the module's anew, before Docker makes a bare one."""
        labels = await self._labels(found)
        driver = (await self.engine.info())["CgroupDriver"]
        group = labels[container.GROUP]

        def restore() -> None:
            try:
                self._cgroups.read(group)
            except CgroupError:
                self._cgroups.ensure(group, container.budget_of(labels))
                self._cgroups.docker_parent(group, driver)

        await asyncio.to_thread(restore)
        self._grouped.add(found.key)

    async def _arrived(self, found: Instance) -> Instance:
        """The engine says "started" a moment before the container's first program runs."""
        if found.pid is None or not await arrives(found.pid, _RELEASE_S):
            return found
        self._known[found.key] = replace(found, phase=Phase.HELD)
        return self._known[found.key]

    async def _release(self, found: Instance, pid: int) -> Instance:
        fifo = self._layout.module(found.key.mesh, found.key.module).gate
        try:
            if not await let_through(fifo, pid, _RELEASE_S):
                raise self._error("release", found.key, f"it still waits at {fifo}", again=True)
        except OSError as exc:
            raise self._error("release", found.key, f"{fifo}: {exc.strerror}", again=True) from exc
        if not _belongs(pid, found.id):
            return await self._inspect(found)
        running = replace(found, phase=Phase.RUNNING)
        self._known[found.key] = running
        return running

    # --- looking ----------------------------------------------------------------------------

    async def _inspect(self, found: Instance) -> Instance:
        """A fresh look at a container."""
        shown = await self._containers.show(found.id)
        if shown is None:
            self._known.pop(found.key, None)
            raise EngineError(404, "the container was removed")
        fresh = self._seen(shown)
        self._known[found.key] = fresh
        self._binds[found.key] = container.binds_of(shown["Config"]["Labels"])
        return fresh

    async def _labels(self, found: Instance) -> dict[str, str]:
        shown = await self._containers.show(found.id)
        if shown is None:
            self._known.pop(found.key, None)
            raise EngineError(404, "the container was removed")
        labels: dict[str, str] = shown["Config"]["Labels"]
        self._binds[found.key] = container.binds_of(labels)
        return labels

    async def _find(self, key: Key) -> Instance | None:
        if key not in self._known:
            for entry in await self._containers.listed(key):
                if found := await self._look(entry):
                    self._known[key] = found
        return self._known.get(key)

    async def _find_id(self, key: Key) -> str | None:
        found = await self._find(key)
        return found.id if found else None

    async def _require(self, key: Key, op: str) -> Instance:
        found = await self._find(key)
        if found is None:
            raise self._error(op, key, "there is no such container", again=True)
        return found

    async def _look(self, entry: dict[str, Any]) -> Instance | None:
        """One line of a listing, asking for more only where it isn't known; None: just gone."""
        known = self._known.get(container.key_of(entry["Labels"]))
        up = known is not None and known.id == entry["Id"] and entry["State"] == "running"
        if up and known and known.pid is not None and _belongs(known.pid, known.id):
            return replace(known, phase=Phase.HELD if is_held(known.pid) else Phase.RUNNING)
        async with self._reads:
            shown = await self._containers.show(entry["Id"])
        return self._seen(shown) if shown else None

    def _seen(self, shown: dict[str, Any]) -> Instance:
        return self._out_of_memory.judged(container.instance(shown, is_held))

    async def _died(self, actor: dict[str, Any]) -> Instance | None:
        """From a `die` event; a container that was removed since is an exit all the same."""
        ended = container.from_event(actor)
        known = self._known.get(ended.key)
        if known is not None and known.id != ended.id:
            return None  # an older container, replaced meanwhile
        if known is not None and known.pid is not None and _belongs(known.pid, known.id):
            return None  # an older life of it: it has been started again meanwhile
        if ended.exit_code == SIGKILLED:
            shown = await self._containers.show(ended.id)
            ended = replace(ended, oom_killed=bool(shown and shown["State"]["OOMKilled"]))
            ended = self._out_of_memory.judged(ended)
        self._known[ended.key] = ended
        return ended

    async def _drop_group(self, group: str) -> None:
        """What can't be removed yet goes with the mesh."""
        if group:
            with contextlib.suppress(CgroupError):
                await asyncio.to_thread(self._cgroups.remove, group)

    def _error(
        self, op: str, key: Key, why: str, hint: str = "", *, again: bool = False
    ) -> ContainerError:
        return ContainerError("docker", op, str(key), why, hint=hint, recoverable=again)


def _belongs(pid: int, container_id: str) -> bool:
    """Whether the process still is that container's: pids are used again."""
    try:
        return container_id in Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        return False


def _specifications(info: dict[str, Any]) -> list[str]:
    """Texts of the files in which CDI's devices are told of."""
    found = []
    for folder in container_gpus.folders(info):
        for path in (*Path(folder).glob("*.yaml"), *Path(folder).glob("*.json")):
            with contextlib.suppress(OSError):
                found.append(path.read_text(errors="replace"))
    return found
