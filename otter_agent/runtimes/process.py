"""The process runtime: a module is a process with a network and a mount namespace of its own.

Needs no engine. The agent writes what to run to disk; the launcher (see `otter_agent.launcher`)
forks, holds, reaps and records, and goes on when the agent is gone. Namespaces, budgets and
capabilities are as a container's, the file system and the pid namespace are the machine's: this
keeps modules apart from each other's networks and budgets, not from a hostile one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from net.handover import read_in_thread, write_in_thread
from otter_agent.api import Budget, Copied, GpuWay, LogLine, PathInfo, to_builtins
from otter_agent.cgroups import members
from otter_agent.cgroups.base import Cgroups
from otter_agent.errors import CgroupError, ContainerError
from otter_agent.launcher import records
from otter_agent.launcher.client import LauncherClient, Lost
from otter_agent.launcher.records import Life, Shown, Work
from otter_agent.layout import Layout
from otter_agent.mounts import Bind
from otter_agent.runtimes.accounts import ids_of
from otter_agent.runtimes.base import (
    Artifact,
    ExecOutput,
    Instance,
    Key,
    LogPlace,
    Phase,
    Workload,
    thread_variables,
)
from otter_agent.runtimes.commands import run_command, run_in_terminal
from otter_agent.runtimes.logfile import LogFile, Place
from otter_agent.runtimes.process_files import ModuleFiles
from otter_agent.runtimes.setting import PLAIN, Setting
from otter_agent.secrets import INSIDE as SECRETS
from otter_agent.secrets import Secrets

T = TypeVar("T")

PIDS_LIMIT = 4096
"""Processes and threads of a module that has no limit of its own: a fork bomb stays inside."""
WORK = "/work"
"""What a module's work folder is called in topologies and by `cp`."""
_ATTEMPTS = 5
"""A launcher that is being killed may still take a connection, and break it."""
LOOK_EVERY_S = 0.05
"""How often a followed log is looked at."""
_BASE_ENV = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "PYTHONUNBUFFERED": "1",
}
_NO_GPU = {"CUDA_VISIBLE_DEVICES": ""}
"""CUDA shows all GPUs to who says nothing: whoever was given none would have others' memory."""
_PHASES = {
    "held": Phase.HELD, "running": Phase.RUNNING, "ending": Phase.RUNNING, "exited": Phase.EXITED,
}  # fmt: skip


class ProcessRuntime:
    """Implements `Runtime`, `Logs` and `Exec`.

    Args:
        layout: The agent's paths.
        agent_id: Not used for names here: folders and control groups carry it already.
        cgroups: The agent's control groups.
        launcher_idle_s: The launcher ends after this long without modules and without agents.
    """

    name = "process"

    def __init__(
        self, layout: Layout, agent_id: str, cgroups: Cgroups, *, launcher_idle_s: float = 1.0
    ) -> None:
        self.agent_id = agent_id
        self._root = str(layout.launcher)
        self._layout = layout
        self._cgroups = cgroups
        self._launcher = LauncherClient(layout.launcher, launcher_idle_s)
        self._boot = records.boot_id()
        self._locks: dict[Key, asyncio.Lock] = {}

    async def aclose(self) -> None:
        """Close the connection to the launcher; modules go on."""
        await self._launcher.aclose()

    # --- Runtime ---------------------------------------------------------------------------

    async def create(self, work: Workload) -> Instance:
        """See base."""
        key = work.key
        async with self._lock(key):
            there = await asyncio.to_thread(self._look, key)
            if there is not None and there.spec_digest == work.spec_digest:
                return there
            if there is not None:
                await self._remove(key)
            await self._blocking("create", key, self._write, key, self._describe(work))
        return Instance(key, work.spec_digest, Phase.CREATED)

    async def start(self, key: Key) -> Instance:
        """See base."""
        async with self._lock(key):
            work = await asyncio.to_thread(self._work, key)
            if work is None:
                raise ContainerError("process", "start", str(key), "it was never created")
            if "volume" in work:
                await self._see_that_volumes_are_mounted(key)
            budget = Budget(**work["budget"])
            await self._blocking("start", key, self._cgroups.ensure, work["group"], budget)
            life = await self._ask("start", key, secrets=work.get("secrets"))
        return self._instance(key, work, life)

    async def release(self, key: Key) -> Instance:
        """See base."""
        work = await asyncio.to_thread(self._work, key)
        if work is None:
            raise ContainerError("process", "release", str(key), "it was never created")
        return self._instance(key, work, await self._ask("release", key))

    async def update(self, key: Key, budget: Budget) -> None:
        """See base. An instance that isn't started gets the budget when it is."""
        async with self._lock(key):
            work = await asyncio.to_thread(self._work, key)
            if work is None:
                raise ContainerError("process", "update", str(key), "it was never created")
            wanted = with_pids_limit(budget)
            life = await asyncio.to_thread(self._life, key)
            if life is not None and life["phase"] != "exited":
                await self._blocking("update", key, self._cgroups.ensure, work["group"], wanted)
            changed: Work = {**work, "budget": to_builtins(wanted)}
            await self._blocking("update", key, self._write, key, changed)

    async def gpu_way(self) -> tuple[GpuWay, str]:
        """See `GivesGpus`: a process sees the machine's; which of them, CUDA is told."""
        return "env", ""

    async def user_of(self, key: Key, artifact: Artifact) -> str:
        """See `GivesGpus`."""
        del key, artifact
        return ""

    async def signal(self, key: Key, number: int) -> None:
        """See `Signals`."""
        work = await asyncio.to_thread(self._work, key)
        if work is not None:
            where = str(self._cgroups.kill_directory(work["group"]))
            await self._blocking("signal", key, members.tell, where, number)

    async def stop(self, key: Key, grace_s: float) -> Instance:
        """See base."""
        return await self._stop(key, grace_s)

    async def remove(self, key: Key) -> None:
        """See base."""
        async with self._lock(key):
            await self._remove(key)
        self._locks.pop(key, None)

    async def list(self) -> list[Instance]:
        """See base."""

        def look() -> list[Instance]:
            keys = [Key(*names) for names in records.keys(self._root)]
            return [found for key in keys if (found := self._look(key)) is not None]

        return await asyncio.to_thread(look)

    async def watch(self) -> AsyncIterator[Instance]:
        """See base. Starts a launcher if there are instances that none looks after."""
        exits = self._launcher.subscribe()
        try:
            alive = any(i.pid is not None for i in await self.list())
            await self._launcher.connect(start=alive)
            while True:
                event = await exits.get()
                if event is None:
                    raise ContainerError(
                        "process", "watch", "launcher", "it went away", recoverable=True
                    )
                key = Key(event["mesh"], event["module"])
                work = await asyncio.to_thread(self._work, key)
                if work is not None:
                    yield self._instance(key, work, event["life"])
        finally:
            self._launcher.unsubscribe(exits)

    # --- Logs and Exec ---------------------------------------------------------------------

    async def logs(
        self,
        key: Key,
        *,
        tail: int | None,
        follow: bool,
        since: float | None = None,
        until: float | None = None,
        place: LogPlace | None = None,
    ) -> AsyncIterator[LogLine]:
        """See base. Times are those of the launcher's marks: right to about 20 ms."""
        work = await asyncio.to_thread(self._work, key)
        if work is None:
            return
        log = LogFile(Path(work["log"]))
        place = LogPlace() if place is None else place
        try:
            await asyncio.to_thread(_begin, log, tail, since, place)
            ended = False
            while True:
                if log.grew():
                    lines = await asyncio.to_thread(log.read)
                elif follow and os.path.exists(self._path(key, records.WORK)):
                    place.caught_up()
                    await asyncio.sleep(LOOK_EVERY_S)
                    continue
                else:
                    lines, ended = log.flush(), True
                for line in lines:
                    if until is not None and line.time > until:
                        return
                    if since is None or line.time >= since:
                        yield LogLine(module=key.module, text=line.text, time=line.time)
                if ended:
                    return
        finally:
            place.at = log.place
            log.close()

    async def exec(
        self,
        key: Key,
        argv: Sequence[str],
        *,
        stdin: AsyncIterator[bytes] | None,
        output: ExecOutput,
        setting: Setting = PLAIN,
    ) -> int:
        """See base. Cancelled: the command is killed."""
        number = self._launcher.next_number()
        wanted: dict[str, Any] = {
            "argv": list(argv), "env": dict(setting.env), "cwd": setting.cwd,
            "ids": await asyncio.to_thread(ids_of, setting.user, str(key)),
            "terminal": setting.terminal is not None,
        }  # fmt: skip

        async def run(fds: Sequence[int]) -> int:
            try:
                answer = await self._launcher.request(
                    "exec", number=number, fds=fds, mesh=key.mesh, module=key.module, **wanted
                )
            except Lost as exc:
                why = "the launcher went away"
                raise ContainerError("process", "exec", str(key), why, recoverable=True) from exc
            except asyncio.CancelledError:
                self._launcher.tell("kill", exec=number)
                raise
            return int(answer["exit"])

        if setting.terminal is not None:
            return await run_in_terminal(run, stdin, output, setting.terminal)
        return await run_command(run, stdin, output)

    async def stat_path(self, key: Key, path: str) -> PathInfo:
        """See `Copies`."""
        return await asyncio.to_thread((await self._files(key)).stat, path)

    async def pack_path(self, key: Key, path: str) -> AsyncIterator[bytes]:
        """See `Copies`."""
        files = await self._files(key)
        async for chunk in write_in_thread(lambda: files.pack(path)):
            yield chunk

    async def unpack_into(self, key: Key, path: str, chunks: AsyncIterator[bytes]) -> Copied:
        """See `Copies`."""
        files = await self._files(key)
        return await read_in_thread(chunks, lambda source: files.unpack(path, source))

    async def _files(self, key: Key) -> ModuleFiles:
        found = await asyncio.to_thread(self._look, key)
        pid = found.pid if found is not None else None
        work = self._layout.module(key.mesh, key.module).work
        return ModuleFiles(key, pid, work, Secrets(self._layout).root)

    # --- asking the launcher ---------------------------------------------------------------

    async def _ask(self, op: str, key: Key, *, secrets: str | None = None, **fields: Any) -> Life:
        """Ask; again if the launcher went away before it answered (all requests are idempotent).

        What is in the folder `secrets` is handed over as a file in memory.
        """
        for _ in range(_ATTEMPTS):
            fds = [await self._blocking(op, key, in_memory, Path(secrets))] if secrets else []
            with contextlib.suppress(Lost):
                life: Life = await self._launcher.request(
                    op, fds=fds, mesh=key.mesh, module=key.module, **fields
                )
                return life
        why = "the launcher went away"
        raise ContainerError("process", op, str(key), why, recoverable=True)

    async def _see_that_volumes_are_mounted(self, key: Key) -> None:
        """A launcher of before there were any would start it without its files, and unlimited."""
        await self._launcher.connect(start=True)
        if not self._launcher.volumes:
            raise ContainerError(
                "process", "start", str(key),
                "the launcher is an earlier agent's, which can't give it its `storage`",
                hint="it ends with the last process module: destroy their meshes, apply them again",
                recoverable=True,
            )  # fmt: skip

    async def _stop(self, key: Key, grace_s: float) -> Instance:
        there = await asyncio.to_thread(self._look, key)
        if there is None:
            return Instance(key, "", Phase.EXITED)
        if there.phase in (Phase.CREATED, Phase.EXITED):
            return Instance(key, there.spec_digest, Phase.EXITED, exit_code=there.exit_code,
                            oom_killed=there.oom_killed)  # fmt: skip
        life = await self._ask("stop", key, grace_s=grace_s)
        work = await asyncio.to_thread(self._work, key)
        return self._instance(key, work, life)

    async def _remove(self, key: Key) -> None:
        await self._stop(key, 0.0)

        def forget() -> None:
            work = self._work(key)
            if work is not None:
                self._cgroups.kill(work["group"])  # what a dead launcher's module left behind
                self._cgroups.remove(work["group"])
            records.remove(self._root, key.mesh, key.module)

        await self._blocking("remove", key, forget)

    # --- records ---------------------------------------------------------------------------

    def _describe(self, work: Workload) -> Work:
        argv = work.argv if work.argv is not None else work.artifact.argv
        if not argv:
            why = "there is no command"
            hint = "give the module a `command`, or a build that has one"
            raise ContainerError("process", "create", str(work.key), why, hint=hint)
        group = f"{work.cgroup}/{work.key.module}"
        described = Work(
            digest=work.spec_digest, hostname=work.hostname, argv=list(argv),
            env=environment(work), cwd=str(work.paths.work), log=str(work.paths.log),
            hosts=str(work.paths.hosts), readonly=list(work.artifact.readonly), group=group,
            budget=to_builtins(with_pids_limit(work.budget)),
            procs=[str(path) for path in self._cgroups.procs_files(group)],
            kill=str(self._cgroups.kill_directory(group)), oom=str(self._cgroups.oom_file(group)),
            binds=[_shown(bind, work) for bind in work.binds],
        )  # fmt: skip
        if work.secrets is not None:
            described["secrets"] = str(work.secrets)
        if work.budget.storage_bytes is not None:
            described["volume"] = str(work.paths.volume)
        return described

    def _write(self, key: Key, work: Work) -> None:
        os.makedirs(records.folder(self._root, key.mesh, key.module), mode=0o700, exist_ok=True)
        records.write(self._path(key, records.WORK), work)

    def _work(self, key: Key) -> Work | None:
        work: Work | None = records.read(self._path(key, records.WORK))
        return work

    def _life(self, key: Key) -> Life | None:
        return records.observe(self._root, key.mesh, key.module, self._boot)

    def _look(self, key: Key) -> Instance | None:
        work = self._work(key)
        return None if work is None else self._instance(key, work, self._life(key))

    def _instance(self, key: Key, work: Work | None, life: Life | None) -> Instance:
        digest = "" if work is None else work["digest"]
        if life is None:
            return Instance(key, digest, Phase.CREATED)
        phase = _PHASES[life["phase"]]
        name = f"{life['pid']}@{life['started']}"
        if phase is Phase.EXITED:
            code, oom = life["exit"], life["oom"]
            return Instance(key, digest, phase, exit_code=code, oom_killed=oom, life=name)
        return Instance(key, digest, phase, pid=life["pid"], id=name, life=name)

    def _path(self, key: Key, name: str) -> str:
        return f"{records.folder(self._root, key.mesh, key.module)}/{name}"

    def _lock(self, key: Key) -> asyncio.Lock:
        return self._locks.setdefault(key, asyncio.Lock())

    async def _blocking(self, op: str, key: Key, call: Callable[..., T], *args: Any) -> T:
        try:
            return await asyncio.to_thread(call, *args)
        except CgroupError as exc:
            raise ContainerError("process", op, str(key), exc.why, hint=exc.hint,
                                 recoverable=exc.recoverable) from exc  # fmt: skip
        except OSError as exc:
            raise ContainerError("process", op, str(key), str(exc)) from exc


def _begin(log: LogFile, tail: int | None, since: float | None, place: LogPlace) -> None:
    if isinstance(place.at, Place):
        log.seek(place.at)
    if since is not None:
        log.seek_since(since)
    if tail is not None:
        log.seek_tail(tail)


def with_pids_limit(budget: Budget) -> Budget:
    """The budget with the default limit of processes where it has none."""
    pids = PIDS_LIMIT if budget.pids is None else budget.pids
    return msgspec.structs.replace(budget, pids=pids)


def in_memory(folder: Path) -> int:
    """A file that exists in memory only, with the secrets in a folder: JSON, name -> value."""
    values = {path.name: path.read_text() for path in sorted(folder.iterdir())}
    fd = os.memfd_create("otter-secrets", os.MFD_CLOEXEC)
    with os.fdopen(os.dup(fd), "w", encoding="utf-8") as file:
        json.dump(values, file)
    return fd


def _shown(bind: Bind, work: Workload) -> Shown:
    """A mount as the launcher takes it: `/work` is where the module's work folder really is."""
    target = bind.target
    if target.startswith(f"{WORK}/"):
        target = str(work.paths.work) + target.removeprefix(WORK)
    return Shown(
        root=bind.root, relative=bind.relative, target=target, readonly=bind.readonly, key=bind.key
    )


def environment(work: Workload) -> dict[str, str]:
    """All variables of a module; nothing of the agent's own environment."""
    paths = work.paths
    said = {**work.artifact.env, **work.env}
    return {
        **_BASE_ENV, **thread_variables(said, work.threads), "HOME": str(paths.work),
        **work.artifact.env, **(_NO_GPU if work.gpu is None else work.gpu.env), **work.env,
        "OTTER_WIRING": str(paths.wiring_file), "OTTER_STATE": str(paths.state),
        "OTTER_WORK": str(paths.work),
        **({"OTTER_SECRETS": SECRETS} if work.secrets is not None else {}),
    }  # fmt: skip
