"""Gives modules their GPUs: which, how they come in, and what holds them to their parts.

A grant is kept in a folder that the module may read (`/run/otter/gpu.json`): it lasts as long as
the module's folders do, so the next agent knows it, and the module what became of it. Blocking, but
for what says otherwise; any thread may call. Must not know: HTTP, runtimes, NVML.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
from msgspec.structs import replace

from net.errors import DriverError
from otter_agent import api
from otter_agent.gpu import ladder
from otter_agent.gpu.mps import Mps
from otter_agent.gpu.watch import ANSWER_S, START_S
from otter_agent.layout import Layout
from otter_agent.runtimes.base import GpuAccess

FILE = "gpu.json"
AT_ODDS = "its own env says "
"""Begins a trouble that only another topology ends."""
KNOWN_S = START_S + ANSWER_S + 1.0
"""Until then it is known which GPUs there are: a driver that hangs has been given up, and so has a
reader that didn't begin."""
OFF = "mps = false in the agent's configuration"
INSTEAD = "`otterctl gpu ls` shows what there is; `allow_degraded = true` runs it without"
SPLIT = "a GPU that is split (MIG) needs MPS for each of its instances: not done here"
"""Source: NVIDIA, Multi-Instance GPU User Guide, "MIG with CUDA MPS"."""
Name = tuple[str, str]
"""Mesh, module."""


@dataclass(frozen=True, slots=True)
class Coming:
    """How GPUs come into a module.

    Attributes:
        way: What brings them.
        lack: Why nothing does; "": it does.
        user: Whom its processes are, as its image says; "": root.
    """

    way: api.GpuWay
    lack: str = ""
    user: str = ""

    @property
    def as_root(self) -> bool:
        """Whether they are root. A name is known inside the image alone, but for this one."""
        return self.user.partition(":")[0] in ("", "0", "root")


class Grants:
    """Of one agent.

    Args:
        layout: Its paths.
        mps: Its control daemon.
        wanted: Whether MPS may be used here.
    """

    def __init__(self, layout: Layout, mps: Mps, wanted: Callable[[], bool]) -> None:
        self._layout = layout
        self.mps = mps
        self._wanted = wanted
        self._guard = threading.Lock()
        self._known = asyncio.Event()
        self.facts: tuple[api.GpuFact, ...] = ()
        self.why = ""
        self.limits: Mapping[str, str] = {}
        """GPU -> why the driver can't limit its memory; "": it can."""
        self._given = _load(layout.meshes)

    # --- what there is ---------------------------------------------------------------------------

    def take(self, state: api.GpuState, limits: Mapping[str, str] | None = None) -> None:
        """What the driver tells now.

        Args:
            state: It.
            limits: GPU -> why the driver can't limit its memory; None: as before, and nothing is
                known until that is.
        """
        if limits is None and not self._known.is_set():
            return
        self.facts = tuple(
            api.GpuFact(
                index=gpu.index, uuid=gpu.uuid, name=gpu.name, memory_bytes=gpu.memory_bytes,
                mig=bool(gpu.mig),
            )
            for gpu in state.gpus
            if gpu.uuid and not gpu.error
        )  # fmt: skip
        self.why = state.why
        if limits is not None:
            self.can_limit(limits)
        self._known.set()

    def can_limit(self, limits: Mapping[str, str]) -> None:
        """GPU -> why the driver can't limit its memory; "": it can."""
        self.limits = dict(limits)

    async def known(self) -> None:
        """Returns when it is known what there is; not blocking."""
        with suppress(TimeoutError):
            async with asyncio.timeout(KNOWN_S):
                await self._known.wait()

    def mps_lack(self) -> str:
        """Why there is no MPS to be had; "" if there may be."""
        return self.mps.lack() if self._wanted() else OFF

    # --- giving ----------------------------------------------------------------------------------

    def give(self, mesh: str, module: api.ModuleSpec, coming: Coming) -> GpuAccess | None:
        """The GPUs of a module that is about to be made; None: it has none.

        Args:
            mesh: Its.
            module: With the share that is asked of it now.
            coming: How they come into it.

        Raises:
            DriverError: It asks for what there isn't, and can't do without.
        """
        ask, name = api.gpus_of(module), (mesh, module.name)
        if ask is None or module.runtime == "fake":
            self._forget(name)
            return None
        with self._guard:
            uuids, why = self._chosen(name, ask, coming.lack)
            if not uuids:
                if ask.required:
                    raise DriverError(
                        "gpu", "give", f"{mesh}/{module.name}", why, recoverable=True, hint=INSTEAD
                    )
                self._keep(api.GpuGrant(mesh=mesh, module=module.name, why=why))
                return None
            return self._give(name, module, ask, uuids, coming)

    def _chosen(self, name: Name, ask: api.GpuAsk, no_way: str) -> tuple[tuple[str, ...], str]:
        why = api.gpu_lack(ask, self.facts, self.why) or no_way
        if why:
            return (), why
        former = self._given.get(name)
        used = self._used(but=name)
        return ladder.chosen(ask, self.facts, used, former.uuids if former else ()), ""

    def _give(
        self, name: Name, module: api.ModuleSpec, ask: api.GpuAsk, uuids: tuple[str, ...],
        coming: Coming,
    ) -> GpuAccess:  # fmt: skip
        share = module.gpu_share
        memory = ladder.memory_of(ask, share, uuids, self.facts)
        asked = memory is not None or share is not None
        no_mps = self._mps_started(uuids, coming) if asked else "nothing is asked of it"
        lacks = ladder.Lacks(limit=self._limit_lack(uuids), mps=no_mps)
        of_memory, of_time, why = ladder.levels(memory, share, lacks)
        grant = api.GpuGrant(
            mesh=name[0], module=name[1], uuids=uuids, memory_bytes=memory, share=share,
            way=coming.way, memory=of_memory, time=of_time, why=why, required=ask.required,
        )  # fmt: skip
        pipe, total = self.mps.pipe, ladder.total_of(uuids, self.facts)
        told = ladder.variables(grant, str(pipe), total, module.env)
        if told.at_odds:
            odd = ", ".join(told.at_odds)
            grant = replace(grant, trouble=f"{AT_ODDS}{odd} otherwise: that holds")
        self._keep(grant)
        by_mps = "mps" in (of_memory, of_time)
        indices = tuple(g.index for g in self.facts if g.uuid in uuids)
        return GpuAccess(uuids, indices, coming.way, told.env, pipe if by_mps else None)

    def _limit_lack(self, uuids: Collection[str]) -> str:
        return next((why for uuid in uuids if (why := self.limits.get(uuid, "isn't known"))), "")

    def _mps_started(self, uuids: Collection[str], coming: Coming) -> str:
        """Why there is no MPS for a module; it is started for the first that has a use for it."""
        if any(gpu.mig for gpu in self.facts if gpu.uuid in uuids):
            return SPLIT
        if why := self.mps_lack() or self.mps.start():
            return why
        if coming.as_root or self.mps.serves_all():
            return ""
        return f"its image runs as user {coming.user}, and MPS here serves one user: root's clients"

    def _used(self, but: Name) -> dict[str, ladder.Used]:
        found: dict[str, ladder.Used] = {}
        for name, grant in self._given.items():
            for uuid in grant.uuids if name != but else ():
                was = found.get(uuid, ladder.Used())
                more = was.memory_bytes + (grant.memory_bytes or 0)
                found[uuid] = ladder.Used(was.modules + 1, more)
        return found

    # --- keeping ---------------------------------------------------------------------------------

    def all(self) -> tuple[api.GpuGrant, ...]:
        """All grants."""
        return tuple(grant for _, grant in sorted(self._given.items()))

    @property
    def empty(self) -> bool:
        """Whether there is nothing to keep."""
        return not self._given and not self.mps.pipe.parent.exists()

    def of(self, mesh: str, module: str) -> api.GpuGrant | None:
        """A module's."""
        return self._given.get((mesh, module))

    def stays(self, mesh: str, module: str, share: float) -> str:
        """What of a module's share doesn't follow until it restarts; "" if all of it does.

        Args:
            mesh: Its.
            module: Its name.
            share: That it has now, of turns.
        """
        grant = self.of(mesh, module)
        if grant is None or grant.time != "mps" or grant.share is None:
            return ""
        was = ladder.percent(grant.share)
        if ladder.percent(share) == was:
            return ""
        return (
            f"its part of the multiprocessors (MPS) stays {was:.4g}% until it restarts: "
            "turns change at once"
        )

    def snapshot(self) -> Mapping[Name, api.GpuGrant]:
        """What is given now; for `keep`."""
        return dict(self._given)

    def trouble(self, name: Name, why: str) -> None:
        """What should hold a module doesn't; "": it does."""
        with self._guard:
            if (grant := self._given.get(name)) is not None and grant.trouble != why:
                with suppress(OSError):  # a full disk: whoever asks the agent is told
                    self._keep(replace(grant, trouble=why))

    def keep(self, modules: Collection[Name], had: Mapping[Name, api.GpuGrant]) -> None:
        """Those that aren't among them have gone. Without any that need it, MPS ends.

        Args:
            modules: That there are.
            had: `snapshot` of when that was looked up: what was given since is left alone.
        """
        with self._guard:
            for name in had.keys() - set(modules):
                if self._given.get(name) is had[name]:
                    self._drop(name)
            if not self.uses_mps() and self.mps.pipe.parent.exists():
                self.mps.end()

    def uses_mps(self) -> bool:
        """Whether any module was made for it."""
        return any("mps" in (grant.memory, grant.time) for grant in list(self._given.values()))

    def _forget(self, name: Name) -> None:
        with self._guard:
            self._drop(name)

    def _drop(self, name: Name) -> None:
        if self._given.pop(name, None) is not None:
            with suppress(OSError):
                (self._layout.module(*name).wiring / FILE).unlink()

    def _keep(self, grant: api.GpuGrant) -> None:
        self._given[grant.mesh, grant.module] = grant
        path = self._layout.module(grant.mesh, grant.module).wiring / FILE
        fresh = path.with_suffix(".new")
        with suppress(FileNotFoundError):  # its folders go right now
            fresh.write_bytes(api.encode(grant))
            os.replace(fresh, path)


def _load(meshes: Path) -> dict[Name, api.GpuGrant]:
    found: dict[Name, api.GpuGrant] = {}
    for path in meshes.glob(f"*/*/wiring/{FILE}"):
        with suppress(OSError, msgspec.DecodeError):
            grant = api.decode(path.read_bytes(), api.GpuGrant)
            if path.parts[-4:-2] == (grant.mesh, grant.module):
                found[grant.mesh, grant.module] = grant
    return found
