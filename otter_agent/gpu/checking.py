"""Whether what should hold modules to their parts of GPUs does, and what could. Looks, and tells.

`trouble` is pure: it judges what was seen of one module. `Probe` tries each level of the ladder for
real, and leaves nothing of it behind. Must not know: HTTP, meshes but by their names.
"""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from net.errors import OtterError
from net.leases import Lease
from otter_agent import api
from otter_agent.cgroups import Cgroups
from otter_agent.gpu.granting import Grants
from otter_agent.gpu.words import Limit, LimitOrder
from otter_agent.leasing.client import Leases
from otter_agent.leasing.words import Member

UNIFIED = Path("/sys/fs/cgroup")
"""Where NVIDIA's driver wants cgroup v2 to be."""
NO_V2 = f"needs cgroup v2 at {UNIFIED}"
PROBE_BYTES = 1 << 30
ROUNDED = 0.05
"""A driver may round what is asked to whole pieces of memory."""
PROBE = "_gpu-probe"
"""A group, and a member that shares; no mesh can be called so."""
_TURN_S = 5.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of a module with a grant.

    Attributes:
        there: Its GPUs that answer.
        kinds: How its processes are on them: `compute`, `mps`; none: it hasn't begun.
        mps: Why MPS isn't to be reached; "" if it is, or isn't used.
        limits: GPU -> the driver's limit as it reads; none: nothing runs.
    """

    there: frozenset[str]
    kinds: frozenset[str] = frozenset()
    mps: str = ""
    limits: Mapping[str, Limit] | None = None


def trouble(grant: api.GpuGrant, seen: Seen) -> tuple[str, str]:
    """Why what should hold doesn't, and the event's state (`lost`, `unheld`); "" "": it does."""
    if gone := [uuid for uuid in grant.uuids if uuid not in seen.there]:
        return f"{', '.join(gone)}: answers no more", "lost"
    why = _unheld(grant, seen)
    again = f"; `otterctl restart {grant.module}` has it held again, where that can be"
    return (f"{why}{again}", "unheld") if why else ("", "")


def _unheld(grant: api.GpuGrant, seen: Seen) -> str:
    if "mps" in (grant.memory, grant.time):
        if seen.mps:
            return f"MPS: {seen.mps}: its clients are held to nothing"
        if "compute" in seen.kinds and "mps" not in seen.kinds:
            return (
                "it computes beside MPS, so nothing holds it: it didn't reach MPS when it began, "
                "or its CUDA_MPS_PIPE_DIRECTORY leads elsewhere"
            )
    for uuid, limit in (seen.limits or {}).items():
        if why := unlike(limit, grant.memory_bytes):
            return f"the driver's limit on {uuid}: {why}"
    return ""


def unlike(limit: Limit, asked: int | None) -> str:
    """Why a limit isn't what was asked; "" if it is, as the driver rounds."""
    if limit.error:
        return limit.error
    if limit.hard_bytes is None or abs(limit.hard_bytes - (asked or 0)) > ROUNDED * (asked or 0):
        return f"{asked} bytes read back as {limit.hard_bytes or 'none'}"
    return ""


def group_folder(pid: int, proc: Path = Path("/proc"), unified: Path = UNIFIED) -> str:
    """The control group of a process as NVIDIA's driver is told it; "" without cgroup v2."""
    if not (unified / "cgroup.controllers").exists():
        return ""
    with suppress(OSError):
        for line in (proc / str(pid) / "cgroup").read_text(errors="replace").splitlines():
            if line.startswith("0::/"):
                return f"{unified}{line[3:]}".rstrip("/")
    return ""


class Probe:
    """Tries all levels.

    Args:
        grants: Of the agent.
        leases: What gives turns.
        cgroups: Where a group can be made to try limits on; None: nowhere.
        limit: Asks the driver.
        folder: For a socket, for a moment.
    """

    def __init__(
        self,
        grants: Grants,
        leases: Leases,
        cgroups: Cgroups | None,
        limit: Callable[[LimitOrder], Awaitable[Limit]],
        folder: Path,
    ) -> None:
        self._grants = grants
        self._leases = leases
        self._cgroups = cgroups
        self._limit = limit
        self._folder = folder

    async def levels(self, state: api.GpuState) -> list[api.LevelFact]:
        """In the ladder's order; GPUs one by one where they differ."""
        gpus = [gpu for gpu in state.gpus if not gpu.error]
        found = await self._limits(gpus)
        why = "there is no GPU" if not gpus else await asyncio.to_thread(self._mps)
        found.append(api.LevelFact(level="mps", there=not why, why=why))
        why = await asyncio.to_thread(self._turns)
        found.append(api.LevelFact(level="lease", there=not why, why=why))
        return [*found, *accounting(gpus)]

    async def _limits(self, gpus: Sequence[api.GpuStatus]) -> list[api.LevelFact]:
        if not gpus:
            return [api.LevelFact(level="limit", there=False, why="there is no GPU")]
        lacks = await self.limitable(gpus)
        return [_fact(gpu, lacks[gpu.uuid]) for gpu in gpus]

    async def limitable(self, gpus: Sequence[api.GpuStatus]) -> dict[str, str]:
        """GPU -> why the driver can't limit its memory; "": it can.

        A limit is set on an empty group, read back, and taken away: to a mere question the driver
        answers of a group without a limit as where there can be none.
        """
        v2 = self._cgroups is not None and self._cgroups.version == "v2"
        if self._cgroups is None or not v2 or not (UNIFIED / "cgroup.controllers").exists():
            return {gpu.uuid: NO_V2 for gpu in gpus}
        try:
            await asyncio.to_thread(self._cgroups.ensure, PROBE, api.Budget())
            folder = str(self._cgroups.kill_directory(PROBE))
            return {gpu.uuid: await self._tried(gpu.uuid, folder) for gpu in gpus}
        except OtterError as error:
            return {gpu.uuid: str(error) for gpu in gpus}
        finally:
            with suppress(OtterError):
                await asyncio.to_thread(self._cgroups.remove, PROBE)

    async def _tried(self, uuid: str, folder: str) -> str:
        order = LimitOrder(uuid=uuid, folder=folder, change=True, hard_bytes=PROBE_BYTES)
        found = await self._limit(order)
        if not found.error:
            await self._limit(LimitOrder(uuid=uuid, folder=folder, change=True))
        return unlike(found, PROBE_BYTES)

    def _mps(self) -> str:
        """Whoever isn't needed is ended again: `Grants.keep`."""
        return self._grants.mps_lack() or self._grants.mps.start()

    def _turns(self) -> str:
        """A turn is asked for and given, as modules do it."""
        with tempfile.TemporaryDirectory(dir=self._folder, prefix="turns-") as folder:
            path = f"{folder}/s"
            try:
                self._leases.put(Member(name=PROBE, socket=path, weight=1.0), guest=True)
                return _turn(path)
            except OSError as error:
                return str(error)
            finally:
                with suppress(OSError):
                    self._leases.drop(PROBE)


def _turn(path: str) -> str:
    had = threading.Event()

    def take() -> None:
        with Lease(PROBE, path) as turn:
            if turn.shared:
                had.set()

    thread = threading.Thread(target=take, name="probe of turns", daemon=True)
    thread.start()
    return "" if had.wait(_TURN_S) else f"no turn was given within {_TURN_S:g} s"


def _fact(gpu: api.GpuStatus, why: str) -> api.LevelFact:
    return api.LevelFact(level="limit", there=not why, why=why, gpu=gpu.index)


def accounting(gpus: Sequence[api.GpuStatus]) -> Iterator[api.LevelFact]:
    """What of GPUs is shown, GPU by GPU; pure."""
    if not gpus:
        yield api.LevelFact(level="accounting", there=False, why="there is no GPU")
    for gpu in gpus:
        untold = [what for what in ("memory", "processes") if what in gpu.untold]
        why = f"it doesn't tell its {' and '.join(untold)}" if untold else ""
        yield api.LevelFact(level="accounting", there=not untold, why=why, gpu=gpu.index)
